"""A vehicle and a ground station of a few lines, framed by pymavlink (PyPI), for `cargo xtask bench px4-ros`.

usage: timing.py vehicle PORT COUNT
       timing.py ground PORT

The vehicle sends to 127.0.0.1:PORT over UDP: 50 positions a second. Who hears one is to send a command with 1 as its first
parameter, and the next with 2 as soon as that one is acknowledged; the second parameter is how old the position was, in
milliseconds. After COUNT of each it prints, as JSON, how long those were after the position and after the acknowledgement,
and these ages, in milliseconds. The ground station does just that, and says 0 for the age.
"""

import json
import os
import select
import socket
import sys
import time

os.environ["MAVLINK20"] = "1"
from pymavlink.dialects.v20 import common as mavlink

PERIOD_S = 0.02
VEHICLE, GROUND = 1, 245

role, port = sys.argv[1], int(sys.argv[2])
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
peer = None


class Out:
    def write(self, data):
        try:
            link.sendto(data, peer)
        except (ConnectionRefusedError, TypeError):
            pass


mav = mavlink.MAVLink(Out(), srcSystem=VEHICLE if role == "vehicle" else GROUND, srcComponent=1)
mav.robust_parsing = True


def messages(until):
    """What comes before that time."""
    global peer
    while (left := until - time.monotonic()) > 0:
        if select.select([link], [], [], min(left, 60.0))[0]:
            try:
                data, peer = link.recvfrom(65535)
            except ConnectionRefusedError:
                continue
            yield from mav.parse_buffer(data) or []


def vehicle(count):
    global peer
    peer = ("127.0.0.1", port)
    after, ages = {1: [], 2: []}, []
    position = acknowledged = start = time.monotonic()
    step = 0
    while len(after[2]) < count:
        if step % 25 == 0:
            mav.heartbeat_send(mavlink.MAV_TYPE_QUADROTOR, mavlink.MAV_AUTOPILOT_PX4, 1, 3 << 16, 4, 3)
        position = time.monotonic()
        mav.local_position_ned_send(int((position - start) * 1000), 1.0, 2.0, 0.0, 0, 0, 0)
        step += 1
        for message in messages(start + step * PERIOD_S):
            if message.get_type() != "COMMAND_LONG" or message.target_system != VEHICLE:
                continue
            if message.command == mavlink.MAV_CMD_USER_1:
                which, now = int(message.param1), time.monotonic()
                after[which].append(1000 * (now - (position if which == 1 else acknowledged)))
                ages.append(message.param2)
            mav.command_ack_send(message.command, mavlink.MAV_RESULT_ACCEPTED)
            acknowledged = time.monotonic()
    said = {"after_position_ms": after[1], "after_acknowledgement_ms": after[2], "position_age_ms": ages}
    print(json.dumps(said), flush=True)


def ground():
    link.bind(("127.0.0.1", port))
    which = 0
    for message in messages(float("inf")):
        if message.get_type() == "LOCAL_POSITION_NED" and which == 0:
            which = 1
        elif message.get_type() == "COMMAND_ACK" and which == 1:
            which = 2
        elif message.get_type() == "COMMAND_ACK":
            which = 0
            continue
        else:
            continue
        mav.command_long_send(VEHICLE, 1, mavlink.MAV_CMD_USER_1, 0, which, 0, 0, 0, 0, 0, 0)


if role == "vehicle":
    vehicle(int(sys.argv[3]))
else:
    ground()
