"""A participant of Cyclone DDS (PyPI) for tests: does what lines of JSON on its input say, and says what happens.

usage: cyclone.py NAME

Services are as rmw_cyclonedds has them: a header with the client and the number of the request before each message.
"""

import json
import os
import sys
import threading
import time
from dataclasses import dataclass

os.environ["CYCLONEDDS_URI"] = """<CycloneDDS><Domain><General><Interfaces><NetworkInterface name="lo"/></Interfaces>
<AllowMulticast>false</AllowMulticast></General><Discovery><ParticipantIndex>auto</ParticipantIndex>
<MaxAutoParticipantIndex>30</MaxAutoParticipantIndex><Peers><Peer Address="127.0.0.1"/></Peers></Discovery>
</Domain></CycloneDDS>"""

from cyclonedds.core import Policy, Qos
from cyclonedds.domain import DomainParticipant
from cyclonedds.idl import IdlStruct
from cyclonedds.idl.types import array, int64, uint8, uint32
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from cyclonedds.util import duration


@dataclass
class String(IdlStruct, typename="std_msgs::msg::dds_::String_"):
    data: str


@dataclass
class Garbled(IdlStruct, typename="std_msgs::msg::dds_::String_"):
    data: uint32


@dataclass
class Request(IdlStruct, typename="std_srvs::srv::dds_::SetBool_Request_"):
    client: array[uint8, 8]
    number: int64
    data: bool


@dataclass
class Response(IdlStruct, typename="std_srvs::srv::dds_::SetBool_Response_"):
    client: array[uint8, 8]
    number: int64
    success: bool
    message: str


output = threading.Lock()
reliable = Qos(Policy.Reliability.Reliable(duration(seconds=1)), Policy.History.KeepLast(50))
participant = DomainParticipant(int(os.environ["ROS_DOMAIN_ID"]))
kept = []


def say(**what):
    with output:
        print(json.dumps(what, ensure_ascii=False), flush=True)


def reader(name, ty, taken):
    """Calls `taken` with each message, for ever."""
    found = DataReader(participant, Topic(participant, name, ty, qos=reliable), qos=reliable)

    def take():
        for message in found.take_iter(timeout=duration(infinite=True)):
            taken(message)

    threading.Thread(target=take, daemon=True).start()
    return found


def writer(name, ty):
    return DataWriter(participant, Topic(participant, name, ty, qos=reliable), qos=reliable)


def subscribe(order):
    reader("rt" + order["topic"], String, lambda message: say(heard=order["topic"], data=message.data))


def repeat(order, ty, value):
    out = writer("rt" + order["topic"], ty)
    kept.append(out)
    for _ in range(order["count"]):
        out.write(ty(value))
        time.sleep(order["period"])


def publish(order):
    repeat(order, String, order["data"])


def garble(order):
    repeat(order, Garbled, 0xFFFFFFFF)


def serve(order):
    name = order["service"]
    replies = writer(f"rr{name}Reply", Response)

    def answer(request):
        # As rmw_cyclonedds does: what is written before the client is found is lost.
        while not replies.get_matched_subscriptions():
            time.sleep(0.02)
        replies.write(Response(request.client, request.number, request.data, name[1:]))

    reader(f"rq{name}Request", Request, answer)


def call(order):
    """A request is sent when somebody listens to it and somebody answers."""
    name, client = order["service"], bytes(range(1, 9))
    answered = threading.Event()
    requests = writer(f"rq{name}Request", Request)

    def taken(response):
        if response.client == client and response.number == 7:
            answered.set()
            say(response=response.message, success=response.success)

    replies = reader(f"rr{name}Reply", Response, taken)
    while not requests.get_matched_subscriptions() or not replies.get_matched_publications():
        time.sleep(0.02)
    requests.write(Request(client, 7, order["data"]))
    answered.wait(30)


say(ready=True)
for line in sys.stdin:
    order = json.loads(line)
    globals()[order.pop("do")](order)
