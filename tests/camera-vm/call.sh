#!/bin/sh
# On the machine with a camera: Ann calls Bob on the loopback interface and shows him what her camera sees. Prints what
# both say, and when the camera's device is open or not. The test `camera` judges it.

say() { echo "$1" >&4; }

has_camera() {
  for fd in /proc/"$ann"/fd/*; do
    case $(readlink "$fd") in /dev/video*) return 0 ;; esac
  done
  return 1
}

camera_is() { if has_camera; then echo "script camera open $1"; else echo "script camera closed $1"; fi; }

# Waits for the Nth line with TEXT in FILE.
await() {
  tries=0
  until [ "$(grep -c "$2" "$1")" -ge "$3" ]; do
    tries=$((tries + 1))
    if [ $tries -gt 600 ]; then echo "script never: $3 times $2 in $1"; exit 1; fi
    sleep 0.1
  done
}

export PULSE_SERVER=unix:/nonexistent RUST_LOG=warn
parlor headless --name Bob --data-dir /tmp/bob --loopback --listen /ip4/127.0.0.1/tcp/4711 --accept all \
  --camera none --mic none --speaker none >/tmp/bob.log 2>/tmp/bob.err </dev/null &
bob=$!
await /tmp/bob.log '"ready"' 1

mkfifo /tmp/commands
parlor headless --name Ann --data-dir /tmp/ann --loopback --listen /ip4/127.0.0.1/tcp/0 --dial /ip4/127.0.0.1/tcp/4711 \
  --camera default --mic none --speaker none >/tmp/ann.log 2>/tmp/ann.err </tmp/commands &
ann=$!
exec 4>/tmp/commands
trap 'sed "s/^/ann /" /tmp/ann.log; sed "s/^/bob /" /tmp/bob.log; tail -n 30 /tmp/ann.err /tmp/bob.err' EXIT

await /tmp/ann.log '"peer_online"' 1
camera_is before

say '{"do":"call","peer":"Bob"}'
await /tmp/bob.log '"first_video_frame"' 1
camera_is during
say '{"do":"camera","on":false}'
tries=0
while has_camera && [ $tries -lt 50 ]; do tries=$((tries + 1)); sleep 0.1; done
camera_is switched-off
say '{"do":"hangup"}'
await /tmp/ann.log '"devices_closed"' 1
camera_is after

say '{"do":"call","peer":"Bob"}'
await /tmp/bob.log '"first_video_frame"' 2
camera_is again
say '{"do":"hangup"}'
await /tmp/ann.log '"devices_closed"' 2
camera_is finally

say '{"do":"call","peer":"Bob"}'
await /tmp/bob.log '"first_video_frame"' 3
echo vivid.0 >/sys/bus/platform/drivers/vivid/unbind
await /tmp/ann.log '"device":"camera"' 1
say '{"do":"hangup"}'
await /tmp/ann.log '"devices_closed"' 3
say '{"do":"quit"}'
wait $ann
echo "script ann exited with $?"
kill $bob
wait $bob
echo "script bob exited with $?"
