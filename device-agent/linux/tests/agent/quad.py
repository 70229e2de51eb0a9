"""A quadrotor of a few lines that answers as PX4 does, framed by pymavlink 2.4 (PyPI), for tests.

usage: quad.py PORT SYSTEM [v1] [noise] [signed=HEX]

Sends to 127.0.0.1:PORT over UDP. It rejects to arm for its first second, climbs and descends at 5 m/s, acknowledges every
second command only when it comes again, and disarms only on the ground. One that is told no height takes off to its
parameter MIS_TAKEOFF_ALT; MAV_SYS_ID is its other one, a whole number that cannot be set. A parameter that it does not have
is an error (PARAM_ERROR), unless it speaks MAVLink 1. With `v1` it speaks MAVLink 1, with `noise` it
sends other bytes too, and with a key it signs.
"""

import math
import os
import random
import socket
import struct
import sys
import time

os.environ["MAVLINK20"] = "0" if "v1" in sys.argv else "1"
if "v1" in sys.argv:
    from pymavlink.dialects.v10 import common as mavlink
else:
    from pymavlink.dialects.v20 import common as mavlink

GROUND_MM = 488_000
PARAMETER = "MIS_TAKEOFF_ALT"
SPEED = 5.0
STEP_S = 0.05

port, system = int(sys.argv[1]), int(sys.argv[2])
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind(("127.0.0.1", 0))
link.connect(("127.0.0.1", port))
link.setblocking(False)


class Out:
    def write(self, data):
        try:
            link.send(data)
        except ConnectionRefusedError:
            pass


mav = mavlink.MAVLink(Out(), srcSystem=system, srcComponent=1)
mav.robust_parsing = True
for key in [argument[7:] for argument in sys.argv if argument.startswith("signed=")]:
    mav.signing.secret_key = bytes.fromhex(key)
    mav.signing.sign_outgoing = True
    mav.signing.link_id = 0
    mav.signing.timestamp = int((time.time() - 1_420_070_400) * 1e5)
    mav.signing.allow_unsigned_callback = lambda *_: False

start = time.monotonic()
armed, height, target = False, 0.0, 0.0
takeoff_height = 2.5
late = 0
print("ready", flush=True)


def carry_out(message):
    """The result of a command."""
    global armed, target
    if message.command == mavlink.MAV_CMD_COMPONENT_ARM_DISARM:
        if message.param1 == 1:
            if time.monotonic() - start < 1:
                return mavlink.MAV_RESULT_TEMPORARILY_REJECTED
            armed = True
        elif height > 0:
            return mavlink.MAV_RESULT_TEMPORARILY_REJECTED
        else:
            armed = False
        return mavlink.MAV_RESULT_ACCEPTED
    if message.command == mavlink.MAV_CMD_NAV_TAKEOFF:
        above_sea = message.param7
        target = takeoff_height if math.isnan(above_sea) else above_sea - GROUND_MM / 1000
        return mavlink.MAV_RESULT_ACCEPTED
    if message.command == mavlink.MAV_CMD_NAV_LAND:
        target = 0.0
        return mavlink.MAV_RESULT_ACCEPTED
    if message.command == mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
        return mavlink.MAV_RESULT_ACCEPTED
    return mavlink.MAV_RESULT_UNSUPPORTED


def hear(message):
    global late, takeoff_height
    kind = message.get_type()
    if kind in ("PARAM_REQUEST_READ", "PARAM_SET") and message.target_system == system:
        if message.param_id == PARAMETER:
            if kind == "PARAM_SET":
                takeoff_height = message.param_value
            mav.param_value_send(PARAMETER.encode(), takeoff_height, mavlink.MAV_PARAM_TYPE_REAL32, 2, 0)
        elif message.param_id == "MAV_SYS_ID":
            # Whole numbers go as they are into the field for a float.
            (value,) = struct.unpack("<f", struct.pack("<i", system))
            mav.param_value_send(b"MAV_SYS_ID", value, mavlink.MAV_PARAM_TYPE_INT32, 2, 1)
        elif "v1" not in sys.argv:
            who = message.get_srcSystem(), message.get_srcComponent()
            mav.param_error_send(*who, message.param_id.encode(), -1, mavlink.MAV_PARAM_ERROR_DOES_NOT_EXIST)
    if kind != "COMMAND_LONG" or message.target_system != system:
        return
    late += 1
    if late % 2 and message.confirmation == 0 and message.command != mavlink.MAV_CMD_SET_MESSAGE_INTERVAL:
        return
    mav.command_ack_send(message.command, carry_out(message))


def tell(step):
    now = int((time.monotonic() - start) * 1000)
    mav.local_position_ned_send(now, 1.0, 2.0, -height, 0, 0, 0)
    if step % 10:
        return
    base_mode = mavlink.MAV_MODE_FLAG_CUSTOM_MODE_ENABLED | (mavlink.MAV_MODE_FLAG_SAFETY_ARMED if armed else 0)
    mav.heartbeat_send(mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_PX4, base_mode, 3 << 16, 4, 3)
    millimetres = int(height * 1000)
    mav.global_position_int_send(now, 474_000_000, 85_000_000, GROUND_MM + millimetres, millimetres, 0, 0, 0, 0)
    mav.sys_status_send(7, 7, 7, 250, 12_400, 150, 73, 0, 0, 0, 0, 0, 0)
    if "v1" not in sys.argv:
        mav.extended_sys_state_send(0, 2 if height > 0 else 1)
        cells = [4_100, 4_150, 4_150] + [65_535] * 7
        mav.battery_status_send(0, 0, 1, 2_500, cells, 150, 120, -1, 73)


step = 0
while True:
    if armed:
        height += max(-SPEED * STEP_S, min(SPEED * STEP_S, target - height))
        height = max(height, 0.0)
    if "noise" in sys.argv:
        Out().write(bytes(random.choices([0xFD, 0xFE, 0, 9, 255], k=40)))
    tell(step)
    step += 1
    end = time.monotonic() + STEP_S
    while time.monotonic() < end:
        try:
            for message in mav.parse_buffer(link.recv(65535)) or []:
                hear(message)
        except (BlockingIOError, ConnectionRefusedError):
            time.sleep(0.002)
