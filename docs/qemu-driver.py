#!/usr/bin/env python3
"""Lets one QEMU be what the simulated CloudStack says of one VM (docs/hypervisor-protocol.md).

    volume-daemon sim --hypervisor hv.sock --latency-ms 5 &
    docs/qemu-driver.py hv.sock images appliance -m 512 -kernel vmlinuz -initrd initrd -append console=ttyS0

Images are made in the directory `images`, raw and sparse, by the name of their volume. QEMU goes on without
this program, which finds it again by its QMP socket. Commands about other VMs are done by doing nothing.
"""
import json, os, socket, subprocess, sys, time

SOCKET, DIR, NAME, *ARGUMENTS = sys.argv[1:]
DIR = os.path.abspath(DIR)  # a QEMU that daemonizes stands in /
DRIVERS = {"virtio": "virtio-blk-pci", "scsi": "scsi-hd", "sata": "ide-hd", "ide": "ide-hd"}


class Failed(Exception):
    """What QEMU or its guest could not do."""


class Lines:
    """Lines of JSON over a UNIX socket. Raises OSError at its end."""

    def __init__(self, path):
        self.socket, self.rest = socket.socket(socket.AF_UNIX), b""
        self.socket.connect(path)

    def read(self, seconds=None):
        self.socket.settimeout(seconds)
        while b"\n" not in self.rest:
            more = self.socket.recv(65536)
            if not more:
                raise ConnectionResetError("the other side has gone")
            self.rest += more
        line, self.rest = self.rest.split(b"\n", 1)
        return json.loads(line)

    def write(self, value):
        self.socket.sendall(json.dumps(value).encode() + b"\n")


class Qemu:
    """One that runs."""

    def __init__(self):
        self.lines, self.events = Lines(f"{DIR}/qmp"), []
        self.lines.read(10)
        self.ask("qmp_capabilities")

    def ask(self, execute, **arguments):
        self.lines.write({"execute": execute, "arguments": arguments})
        while "return" not in (line := self.lines.read(10)):
            if "error" in line:
                raise Failed(line["error"]["desc"])
            self.events.append(line)
        return line["return"]

    def devices(self):
        """The serials of the disks it has: our ids are a d and the serial."""
        paths = (block.get("qdev", "").split("/") for block in self.ask("query-block"))
        return {part[1:] for path in paths for part in path if len(part) == 21 and part[0] == "d"}

    def plug(self, disk):
        serial = disk["serial"]
        if serial not in self.devices():
            self.ask("blockdev-add", **node(disk))
            try:
                self.ask("device_add", **device(disk))
            except Failed:
                self.ask("blockdev-del", **{"node-name": f"n{serial}"})
                raise

    def unplug(self, serial, deadline):
        if serial in self.devices():
            self.events.clear()
            try:
                self.ask("device_del", id=f"d{serial}")
            except Failed as error:
                if "in the process of unplug" not in str(error):
                    raise
            while not any(event.get("data", {}).get("device") == f"d{serial}"
                          and event["event"] == "DEVICE_DELETED" for event in self.events):
                if time.monotonic() > deadline:
                    raise Failed("no DEVICE_DELETED in time")
                try:
                    self.events.append(self.lines.read(0.5))
                except TimeoutError:
                    pass
        if any(block["node-name"] == f"n{serial}" for block in self.ask("query-named-block-nodes")):
            self.ask("blockdev-del", **{"node-name": f"n{serial}"})

    def end(self):
        try:
            self.ask("quit")
            while True:
                self.lines.read(10)
        except ConnectionError:
            pass


def node(disk):
    path = f"{DIR}/{disk['backing']}.img"
    if not os.path.exists(path):
        open(path, "wb").close()
    os.truncate(path, max(disk["size"], os.path.getsize(path)))
    return {"node-name": f"n{disk['serial']}", "driver": "raw", "file": {"driver": "file", "filename": path}}


def device(disk):
    serial, bus = disk["serial"], disk["bus"]
    place = {"bus": "scsi0.0"} if bus == "scsi" else {}
    return {"driver": DRIVERS[bus], "id": f"d{serial}", "drive": f"n{serial}", "serial": serial, **place}


def running():
    try:
        return Qemu()
    except OSError:
        return None


def start(vm):
    command = ["qemu-system-x86_64", "-daemonize", "-display", "none", "-uuid", vm["vm"],
               "-qmp", f"unix:{DIR}/qmp,server=on,wait=off", "-device", "virtio-scsi-pci,id=scsi0"]
    for disk in vm["disks"]:
        command += ["-blockdev", json.dumps(node(disk)), "-device", json.dumps(device(disk))]
    if subprocess.run(command + ARGUMENTS).returncode:
        raise Failed("QEMU does not start")


def obey(command, patience):
    """Does what is to be done, in so many seconds."""
    what, deadline, qemu = command["do"], time.monotonic() + patience, running()
    if what == "state":
        vm = next((vm for vm in command["vms"] if vm["name"] == NAME), None)
        what = "stop" if vm is None else "compare" if qemu else "start"
    elif command["name"] != NAME:
        return
    else:
        vm = command
    if what in ("stop", "destroy"):
        if qemu:
            qemu.end()
    elif what == "start":
        if not qemu:
            start(vm)
    elif qemu is None:
        raise Failed("QEMU does not run")
    elif what == "compare":
        for serial in qemu.devices() - {disk["serial"] for disk in vm["disks"]}:
            qemu.unplug(serial, deadline)
        for disk in vm["disks"]:
            qemu.plug(disk)
    elif what == "plug":
        qemu.plug(command["disk"])
    elif what == "unplug":
        qemu.unplug(command["disk"]["serial"], deadline)
    elif what == "resize":
        qemu.ask("block_resize", **{"node-name": f"n{command['disk']['serial']}", "size": command["disk"]["size"]})
    elif what == "reboot":
        qemu.ask("system_reset")
    else:
        raise Failed(f"this driver does not know {what}")


def main():
    os.makedirs(DIR, exist_ok=True)
    lines = Lines(SOCKET)
    hello = lines.read()
    assert hello["hello"] == "volume-daemon-hypervisor" and hello["version"] == 1, hello
    while True:
        command = lines.read()
        if "error" in command:
            sys.exit(f"the simulator did not understand: {command}")
        try:
            obey(command, hello["timeoutMs"] / 1000 - 2)
            answer = {"result": "done"}
        except (Failed, OSError) as error:
            answer = {"result": "failed", "text": str(error)}
        print(command["do"], *answer.values(), file=sys.stderr, flush=True)
        lines.write({"id": command["id"], **answer})


main()
