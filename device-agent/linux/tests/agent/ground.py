"""Ground stations that fly a vehicle, for tests: MAVSDK 4.1 and pymavlink 2.4 (PyPI), each by what it knows of MAVLink.

usage: ground.py PORT mavsdk|pymavlink

Waits on 127.0.0.1:PORT over UDP for a vehicle, arms it, has it take off, land and, once it is on the ground, disarms it.
It looks at what the vehicle says about that at every step, and ends with an error if it does not say so in time.
"""

import math
import os
import sys
import time

LIMIT_S = 20
HEIGHT_M = 2.5


def until(what, reached):
    end = time.monotonic() + LIMIT_S
    while not reached():
        if time.monotonic() > end:
            sys.exit(f"waited {LIMIT_S} s in vain for {what}")
        time.sleep(0.05)
    print(what, flush=True)


def fly_with_mavsdk(port):
    from mavsdk import Configuration, Mavsdk
    from mavsdk.component_type import ComponentType
    from mavsdk.plugins.action.action import Action, ActionError
    from mavsdk.plugins.param.param import Param, ParamError, ParamResult
    from mavsdk.plugins.telemetry.telemetry import LandedState, Telemetry

    station = Mavsdk(Configuration.create_with_component_type(ComponentType.GROUND_STATION))
    station.add_any_connection(f"udpin://127.0.0.1:{port}")
    vehicle = station.first_autopilot(LIMIT_S) or sys.exit("there is no vehicle")
    action, telemetry = Action(vehicle), Telemetry(vehicle)

    def is_done(order):
        try:
            order()
            return True
        except ActionError as error:
            print(error, flush=True)
            return False

    is_on = lambda state: telemetry.landed_state() == state
    until("on the ground", lambda: is_on(LandedState.ON_GROUND))
    parameters = Param(vehicle)
    until("a whole number", lambda: parameters.get_param_int("MAV_SYS_ID") == 1)
    try:
        sys.exit(f"it has a parameter too many: {parameters.get_param_int('NONE')}")
    except ParamError as error:
        if error.result != ParamResult.DOES_NOT_EXIST:
            raise
    until("a battery", lambda: 0.5 < telemetry.battery().voltage_v < 60)
    action.set_takeoff_altitude(HEIGHT_M)
    until("armed", lambda: is_done(action.arm) and telemetry.armed())
    until("taking off", lambda: is_done(action.takeoff))
    until("in the air", lambda: is_on(LandedState.IN_AIR))
    until("up", lambda: abs(telemetry.position().relative_altitude_m - HEIGHT_M) < 0.1)
    until("the same place in its own frame", lambda: abs(telemetry.position_velocity_ned().position.down_m + HEIGHT_M) < 0.1)
    try:
        action.disarm()
        sys.exit("it disarmed in the air")
    except ActionError as error:
        print("no disarming in the air:", error, flush=True)
    until("landing", lambda: is_done(action.land))
    until("on the ground again", lambda: is_on(LandedState.ON_GROUND))
    until("disarmed", lambda: is_done(action.disarm) and not telemetry.armed())


def fly_with_pymavlink(port):
    os.environ["MAVLINK20"] = "1"
    from pymavlink import mavutil
    from pymavlink.dialects.v20 import common as mavlink

    link = mavutil.mavlink_connection(f"udpin:127.0.0.1:{port}", source_system=255, dialect="common")
    link.wait_heartbeat(timeout=LIMIT_S) or sys.exit("there is no vehicle")

    def hear():
        while link.recv_match(blocking=False):
            pass

    def last(name):
        hear()
        return link.messages.get(name)

    def order(command, *parameters):
        """Gives a command up to five times, as the command protocol has it, and returns the result."""
        for again in range(5):
            link.mav.command_long_send(link.target_system, 1, command, again, *parameters)
            answer = link.recv_match(type="COMMAND_ACK", blocking=True, timeout=1)
            if answer and answer.command == command:
                return answer.result
        sys.exit(f"nobody acknowledges command {command}")

    def is_armed():
        heartbeat = last("HEARTBEAT")
        return bool(heartbeat and heartbeat.base_mode & mavlink.MAV_MODE_FLAG_SAFETY_ARMED)

    def landed(state):
        said = last("EXTENDED_SYS_STATE")
        return bool(said and said.landed_state == state)

    def height():
        place = last("GLOBAL_POSITION_INT")
        return place.relative_alt / 1000 if place else math.nan

    def parameter(name, kind):
        link.mav.param_request_read_send(link.target_system, 1, name.encode(), -1)
        said = link.recv_match(type=["PARAM_VALUE", "PARAM_ERROR"], blocking=True, timeout=1)
        return said and said.param_id == name and said.get_type() == kind and said

    accepted = mavlink.MAV_RESULT_ACCEPTED
    arm = lambda armed: order(mavlink.MAV_CMD_COMPONENT_ARM_DISARM, armed, 0, 0, 0, 0, 0, 0)
    until("on the ground", lambda: landed(mavlink.MAV_LANDED_STATE_ON_GROUND))
    until(
        "a parameter",
        lambda: (said := parameter("MIS_TAKEOFF_ALT", "PARAM_VALUE")) and abs(said.param_value - HEIGHT_M) < 0.001,
    )
    until("none where there is none", lambda: parameter("NONE", "PARAM_ERROR"))
    until("armed", lambda: arm(1) == accepted and is_armed())
    above_sea = last("GLOBAL_POSITION_INT").alt / 1000 + HEIGHT_M
    nan = math.nan
    until("taking off", lambda: order(mavlink.MAV_CMD_NAV_TAKEOFF, nan, 0, 0, nan, nan, nan, above_sea) == accepted)
    until("in the air", lambda: landed(mavlink.MAV_LANDED_STATE_IN_AIR))
    until("up", lambda: abs(height() - HEIGHT_M) < 0.1)
    if arm(0) == accepted:
        sys.exit("it disarmed in the air")
    if order(31_999, 0, 0, 0, 0, 0, 0, 0) != mavlink.MAV_RESULT_UNSUPPORTED:
        sys.exit("it knows a command that does not exist")
    until("landing", lambda: order(mavlink.MAV_CMD_NAV_LAND, 0, 0, 0, nan, nan, nan, 0) == accepted)
    until("on the ground again", lambda: landed(mavlink.MAV_LANDED_STATE_ON_GROUND))
    until("disarmed", lambda: arm(0) == accepted and not is_armed())


fly = {"mavsdk": fly_with_mavsdk, "pymavlink": fly_with_pymavlink}
fly[sys.argv[2]](int(sys.argv[1]))
