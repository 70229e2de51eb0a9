"""How long messages take that come back: a node of rclpy (PyPI) for `cargo xtask bench px4-ros`.

usage: ping.py NAME

Lines of JSON on its input are orders: `{"do": "echo"}` sends what comes on `/in` back on `/out`; `{"do": "measure", "count":
N, "window": W}` sends N messages on `/in`, at most W of them under way, and says how long each took to come back on `/out`, in
milliseconds, and what was lost.
"""

import json
import sys
import threading
import time

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.qos import QoSProfile
from std_msgs.msg import Float64

DEPTH = 50
# How long a message may take to come back.
PATIENCE_S = 10.0

rclpy.init()
node = rclpy.create_node(sys.argv[1])
executor = SingleThreadedExecutor()
executor.add_node(node)


def spin():
    try:
        executor.spin()
    except ExternalShutdownException:
        pass


def say(**what):
    print(json.dumps(what), flush=True)


def echo(_):
    out = node.create_publisher(Float64, "/out", QoSProfile(depth=DEPTH))
    node.create_subscription(Float64, "/in", out.publish, QoSProfile(depth=DEPTH))
    say(echoing=True)


class Meter:
    """Sends, and hears what comes back."""

    def __init__(self):
        self.out = node.create_publisher(Float64, "/in", QoSProfile(depth=DEPTH))
        self.back = threading.Condition()
        self.sent, self.took = {}, {}
        self.last = time.monotonic()
        node.create_subscription(Float64, "/out", self.hear, QoSProfile(depth=DEPTH))

    def hear(self, message):
        now = time.monotonic()
        with self.back:
            self.last = now
            sent = self.sent.pop(message.data, None)
            if sent is not None:
                self.took[message.data] = now - sent
                self.back.notify()

    def send(self, number):
        with self.back:
            self.sent[number] = time.monotonic()
        self.out.publish(Float64(data=float(number)))

    def wait(self, under_way, patience):
        """Until at most so many are under way."""
        with self.back:
            return self.back.wait_for(lambda: len(self.sent) <= under_way, patience)

    def find(self):
        """Sends until the first comes back, which is when everybody has found everybody."""
        number = -1
        while not self.took:
            self.send(number)
            self.wait(0, 0.2)
            number -= 1
        self.wait(0, 1.0)
        self.sent, self.took = {}, {}


meter = None


def measure(order):
    global meter
    meter = meter or Meter()
    meter.find()
    start = time.monotonic()
    for number in range(order["count"]):
        meter.send(number)
        if not meter.wait(order["window"] - 1, PATIENCE_S):
            break
    meter.wait(0, PATIENCE_S)
    seconds = meter.last - start
    say(took_ms=[1000 * took for took in meter.took.values()], seconds=seconds, lost=order["count"] - len(meter.took))


threading.Thread(target=spin, daemon=True).start()
say(ready=node.get_fully_qualified_name())
for line in sys.stdin:
    order = json.loads(line)
    globals()[order.pop("do")](order)
