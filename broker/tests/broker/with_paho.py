"""Speaks to the broker with Eclipse Paho's client. Arguments: port, protocol (4 or 5), then USER=PASSWORD of the
service and of the device pump-7. Ends with an error where the broker does something else than it should."""

import queue
import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

PORT, PROTOCOL = int(sys.argv[1]), int(sys.argv[2])
SERVICE, PUMP = (argument.split("=") for argument in sys.argv[3:5])
IS_5 = PROTOCOL == 5
ROOT = "wasmbed/v1/pump-7"
PATIENCE = 20


class Client:
    """A client and what came to it."""

    def __init__(self, user, client_id, clean=True, will=None, expiry=0):
        self.messages, self.granted, self.connected = queue.Queue(), queue.Queue(), queue.Queue()
        options = {} if IS_5 else {"clean_session": clean}
        protocol = mqtt.MQTTv5 if IS_5 else mqtt.MQTTv311
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, **options
        )
        self.client.username_pw_set(*user)
        if will:
            self.client.will_set(*will)
        self.client.on_message = lambda _client, _data, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _d, _id, codes, _properties: self.granted.put(codes)
        self.client.on_connect = lambda _c, _d, flags, code, _properties: self.connected.put((flags, code))
        properties = None
        if IS_5 and expiry:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = expiry
        arguments = {"clean_start": clean, "properties": properties} if IS_5 else {}
        self.client.connect("127.0.0.1", PORT, keepalive=30, **arguments)
        self.client.loop_start()
        flags, code = self.connected.get(timeout=PATIENCE)
        assert code == 0, code
        self.session_present = flags.session_present

    def subscribe(self, topic, qos, **options):
        if options:
            self.client.subscribe(topic, options=SubscribeOptions(qos=qos, **options))
        else:
            self.client.subscribe(topic, qos)
        (code,) = self.granted.get(timeout=PATIENCE)
        return code.value

    def publish(self, topic, payload, qos=0, retain=False, properties=None):
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(PATIENCE)
        assert info.is_published(), topic

    def next(self):
        return self.messages.get(timeout=PATIENCE)

    def leave(self):
        self.client.disconnect()
        self.client.loop_stop()

    def vanish(self):
        """Without a word, as when the power goes."""
        self.client.socket().close()
        self.client.loop_stop()


def shown(message):
    return message.topic, message.payload, message.qos, message.retain


def every_quality_of_service():
    service, pump = Client(SERVICE, "fleet"), Client(PUMP, "pump-7")
    assert service.subscribe(ROOT + "/up/#", 2) == 2
    for qos in (0, 1, 2):
        for number in range(50):
            pump.publish(ROOT + "/up/tm/t", f"{qos} {number}", qos)
    expected = [(ROOT + "/up/tm/t", f"{qos} {number}".encode(), qos, False) for qos in (0, 1, 2) for number in range(50)]
    assert [shown(service.next()) for _ in expected] == expected
    assert service.messages.empty()
    service.leave()
    pump.leave()


def retained_messages():
    pump = Client(PUMP, "pump-7")
    pump.publish(ROOT + "/up/info", "first", 1, retain=True)
    pump.publish(ROOT + "/up/info", "last", 1, retain=True)
    service = Client(SERVICE, "fleet")
    service.subscribe(ROOT + "/up/info", 1)
    assert shown(service.next()) == (ROOT + "/up/info", b"last", 1, True)
    pump.publish(ROOT + "/up/info", "", 1, retain=True)
    assert shown(service.next()) == (ROOT + "/up/info", b"", 1, False)
    service.leave()
    service = Client(SERVICE, "fleet")
    service.subscribe(ROOT + "/up/#", 1)
    pump.publish(ROOT + "/up/hb", "now")
    assert service.next().payload == b"now", "what was removed is not kept"
    service.leave()
    pump.leave()


def a_will():
    service = Client(SERVICE, "fleet")
    service.subscribe(ROOT + "/up/state", 1)
    pump = Client(PUMP, "pump-7", will=(ROOT + "/up/state", "gone", 1, False))
    pump.leave()
    pump = Client(PUMP, "pump-7", will=(ROOT + "/up/state", "lost", 1, False))
    pump.vanish()
    assert service.next().payload == b"lost", "and nothing of the one that said farewell"
    service.leave()


def a_session_goes_on():
    pump = Client(PUMP, "pump-7", clean=False, expiry=60)
    assert not pump.session_present
    pump.subscribe(ROOT + "/dn/#", 1)
    pump.vanish()
    service = Client(SERVICE, "fleet")
    for number in range(20):
        service.publish(ROOT + "/dn/cmd", str(number), 1)
    pump = Client(PUMP, "pump-7", clean=False, expiry=60)
    assert pump.session_present
    assert [pump.next().payload for _ in range(20)] == [str(number).encode() for number in range(20)]
    pump.leave()
    service.leave()


def what_is_not_allowed():
    pump = Client(PUMP, "pump-7")
    for topic in ("wasmbed/v1/pump-8/dn/#", "wasmbed/v1/+/up/#", "#", "$share/g/wasmbed/v1/pump-7/dn/#", "$SYS/#"):
        assert pump.subscribe(topic, 1) >= 0x80, topic
    pump.leave()


def properties_of_5():
    service, pump = Client(SERVICE, "fleet"), Client(PUMP, "pump-7")
    service.subscribe(ROOT + "/up/#", 1, noLocal=True, retainAsPublished=True)
    sent = Properties(PacketTypes.PUBLISH)
    sent.ContentType = "application/cbor"
    sent.ResponseTopic = "wasmbed/v1/pump-7/dn/answer"
    sent.CorrelationData = b"42"
    sent.MessageExpiryInterval = 100
    sent.PayloadFormatIndicator = 1
    sent.UserProperty = [("a", "1"), ("a", "2")]
    pump.publish(ROOT + "/up/tm/t", "x", 1, retain=True, properties=sent)
    message = service.next()
    got = message.properties
    assert message.retain, "retain as published"
    assert (got.ContentType, got.ResponseTopic, got.CorrelationData) == (
        "application/cbor", "wasmbed/v1/pump-7/dn/answer", b"42")
    assert 0 < got.MessageExpiryInterval <= 100 and got.PayloadFormatIndicator == 1
    assert got.UserProperty == [("a", "1"), ("a", "2")]
    service.leave()
    pump.leave()


def many_at_once():
    """Clients in threads of their own, each of which hears all it should and nothing else."""
    service = Client(SERVICE, "fleet")
    service.subscribe(ROOT + "/up/tm/+", 1)
    pump = Client(PUMP, "pump-7")
    threads = [
        threading.Thread(target=lambda name: [pump.publish(f"{ROOT}/up/tm/{name}", str(n), 1) for n in range(100)],
                         args=(f"c{thread}",))
        for thread in range(4)
    ]
    for thread in threads:
        thread.start()
    heard = {}
    for _ in range(400):
        message = service.next()
        heard.setdefault(message.topic, []).append(int(message.payload))
    for thread in threads:
        thread.join()
    assert len(heard) == 4 and all(numbers == list(range(100)) for numbers in heard.values()), heard
    service.leave()
    pump.leave()


steps = [every_quality_of_service, retained_messages, a_will, a_session_goes_on, what_is_not_allowed, many_at_once]
for step in steps + ([properties_of_5] if IS_5 else []):
    step()
    print(step.__name__, flush=True)
