"""An autopilot made of MAVSDK 4.1 (PyPI), for tests: acknowledges what it may, tells where it is, and never answers LAND.
It has a parameter of either kind, CAL_ACC_PRIO and MPC_XY_CRUISE.

usage: autopilot.py PORT SYSTEM [armable]

Sends to 127.0.0.1:PORT over UDP. Without `armable` it denies to arm.
"""

import socket
import sys
import threading
import time

from mavsdk import Configuration, Mavsdk
from mavsdk.component_type import ComponentType
from mavsdk.plugins.action_server.action_server import ActionServer
from mavsdk.plugins.param_server.param_server import ParamServer
from mavsdk.plugins.telemetry_server.telemetry_server import (
    Battery,
    Heading,
    LandedState,
    Position,
    PositionNed,
    PositionVelocityNed,
    TelemetryServer,
    VelocityNed,
    VtolState,
)

GROUND_M = 488.0
HEIGHT_M = 5.0

port, system = int(sys.argv[1]), int(sys.argv[2])
link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
link.bind(("127.0.0.1", 0))

configuration = Configuration.create_with_component_type(ComponentType.AUTOPILOT)
configuration.system_id = system
mavsdk = Mavsdk(configuration)
mavsdk.subscribe_raw_bytes_to_be_sent(lambda data: link.sendto(data, ("127.0.0.1", port)))
mavsdk.add_any_connection("raw://")


def receive():
    while True:
        try:
            mavsdk.pass_received_raw_bytes(link.recv(65535))
        except ConnectionRefusedError:
            pass


threading.Thread(target=receive, daemon=True).start()
component = mavsdk.server_component_by_type(ComponentType.AUTOPILOT, 0)
actions = ActionServer(component)
telemetry = TelemetryServer(component)
parameters = ParamServer(component)
parameters.provide_param_int("CAL_ACC_PRIO", -75)
parameters.provide_param_float("MPC_XY_CRUISE", 2.5)
actions.set_armable("armable" in sys.argv, False)
actions.set_disarmable(True, True)
actions.set_allow_takeoff(True)
flying = threading.Event()
actions.subscribe_takeoff(lambda *_: flying.set())
actions.subscribe_arm_disarm(lambda *_: None)
print("ready", flush=True)

while True:
    height = HEIGHT_M if flying.is_set() else 0.0
    still = VelocityNed(0.0, 0.0, 0.0)
    telemetry.publish_position(Position(47.4, 8.5, GROUND_M + height, height), still, Heading(0.0))
    telemetry.publish_position_velocity_ned(PositionVelocityNed(PositionNed(1.0, 2.0, -height), still))
    # A part of one, and numbers that floats hold.
    telemetry.publish_battery(Battery(12.5, 0.75))
    state = LandedState.IN_AIR if flying.is_set() else LandedState.ON_GROUND
    telemetry.publish_extended_sys_state(VtolState.UNDEFINED, state)
    time.sleep(0.1)
