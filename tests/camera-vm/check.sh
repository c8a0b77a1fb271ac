#!/bin/sh
# On the machine with a camera: takes pictures, then once more while the camera is unplugged and plugged in again.
# The test `camera` judges it.

# Waits for a line with TEXT in the log.
await() {
  tries=0
  until grep -q "$1" /tmp/log; do
    tries=$((tries + 1))
    if [ $tries -gt 600 ]; then echo "never: $1"; cat /tmp/log; exit 1; fi
    sleep 0.1
  done
}

driver=/sys/bus/platform/drivers/vivid
camera_check --frames 30 || exit 1

camera_check --frames 30 --until-back >/tmp/log 2>&1 &
check=$!
await 'open devices'
echo vivid.0 >$driver/unbind
await 'lost'
echo vivid.0 >$driver/bind
wait $check
status=$?
cat /tmp/log
exit $status
