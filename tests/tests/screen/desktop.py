#!/usr/bin/python3
"""A Wayland desktop's part in sharing a screen, without one: what xdg-desktop-portal asks when a program wants to share.

Says `ready` on stdout when it may be asked. What it is told on stdin, a word a line: `allow`, `cancel` (what the person does
from now on when asked; at first, nothing), and `stop` (the person ends what is shared). It answers with the PipeWire source
whose node has the name that is given as its only argument.
"""
import json
import subprocess
import sys

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

IMPL = "org.freedesktop.impl.portal."
PROPERTIES = {"version": 4, "AvailableSourceTypes": 3, "AvailableCursorModes": 3}


class Session(dbus.service.Object):
    @dbus.service.method(IMPL + "Session", in_signature="", out_signature="")
    def Close(self):
        print("closed", flush=True)
        self.remove_from_connection()

    @dbus.service.signal(IMPL + "Session", signature="")
    def Closed(self):
        pass


class Request(dbus.service.Object):
    @dbus.service.method(IMPL + "Request", in_signature="", out_signature="")
    def Close(self):
        pass


class Portal(dbus.service.Object):
    def __init__(self, bus):
        super().__init__(bus, "/org/freedesktop/portal/desktop")
        self.bus, self.choice, self.session, self.asked = bus, None, None, None

    @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature="s", out_signature="a{sv}")
    def GetAll(self, _interface):
        return {name: dbus.UInt32(value) for name, value in PROPERTIES.items()}

    @dbus.service.method(dbus.PROPERTIES_IFACE, in_signature="ss", out_signature="v")
    def Get(self, _interface, name):
        return dbus.UInt32(PROPERTIES[name])

    @dbus.service.method(IMPL + "ScreenCast", in_signature="oosa{sv}", out_signature="ua{sv}")
    def CreateSession(self, _handle, session, _app, _options):
        self.session = Session(self.bus, session)
        return dbus.UInt32(0), {}

    @dbus.service.method(IMPL + "ScreenCast", in_signature="oosa{sv}", out_signature="ua{sv}")
    def SelectSources(self, _handle, _session, _app, options):
        print("options", json.dumps({str(name): int(value) for name, value in options.items()}), flush=True)
        return dbus.UInt32(0), {}

    @dbus.service.method(IMPL + "ScreenCast", in_signature="oossa{sv}", out_signature="ua{sv}",
                         async_callbacks=("answer", "fail"))
    def Start(self, handle, _session, _app, _parent, _options, answer, fail):
        self.asked = Request(self.bus, handle), answer
        print("asked", flush=True)
        self.reply()

    def reply(self):
        if not (self.asked and self.choice):
            return
        (request, answer), self.asked = self.asked, None
        request.remove_from_connection()
        if self.choice == "cancel":
            answer(dbus.UInt32(1), {})
            return
        details = dbus.Dictionary({"source_type": dbus.UInt32(1)}, signature="sv")
        streams = dbus.Array([dbus.Struct((dbus.UInt32(node_named(sys.argv[1])), details))], signature="(ua{sv})")
        answer(dbus.UInt32(0), {"streams": streams})

    def told(self, source, _condition):
        word = source.readline().strip()
        if word == "stop":
            self.session.Closed()
        elif word:
            self.choice = word
            self.reply()
        return bool(word)


def node_named(name):
    for thing in json.loads(subprocess.check_output(["pw-dump"])):
        if (thing.get("info") or {}).get("props", {}).get("node.name") == name:
            return thing["id"]
    raise LookupError(name)


def main():
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.SessionBus()
    portal = Portal(bus)
    name = dbus.service.BusName(IMPL + "desktop.parlor", bus)
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, portal.told)
    print("ready", flush=True)
    GLib.MainLoop().run()
    del name


main()
