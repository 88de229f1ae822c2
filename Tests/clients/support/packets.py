"""Counts what is sent to some ports of this machine, packet by packet, on every interface. It needs root."""
import ctypes
import socket
import struct
from collections import namedtuple

DEADLINE = 20
ALL_PROTOCOLS = 3
ATTACH_FILTER, RECEIVE_BUFFER_FORCE = 26, 33
PACKET_LEVEL, STATISTICS = 263, 6
BUFFER_BYTES = 16 << 20

# `opens` is true of a TCP SYN.
Packet = namedtuple("Packet", "protocol port opens payload")


class Packets:
    """The kernel copies a packet here while it is being sent: what was sent before a question is in its answer."""

    def __init__(self, *ports):
        self.marker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.marker.bind(("127.0.0.1", 0))
        self.place = self.marker.getsockname()
        self.ports, self.seen = [self.place[1]], []
        # Protocol 0 hears nothing before bind, so no packet comes in past the filter. Cooked: no link header.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER_FORCE, BUFFER_BYTES)
        self.socket.settimeout(DEADLINE)
        self.watch(*ports)
        # Python's bind wants the name of one interface; index 0 is all of them.
        every = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(ALL_PROTOCOLS), 0, 0, 0, 0, b"")
        assert ctypes.CDLL(None).bind(self.socket.fileno(), every, len(every)) == 0

    def watch(self, *ports):
        """Counts these ports from now on, too."""
        self.ports += ports
        code = filter_of(self.ports)
        memory = ctypes.create_string_buffer(b"".join(code))
        self.socket.setsockopt(socket.SOL_SOCKET, ATTACH_FILTER, struct.pack("HL", len(code), ctypes.addressof(memory)))

    def sent(self, protocol, port):
        """All packets to this port so far."""
        self.marker.sendto(b"", self.place)
        while True:
            data, source = self.socket.recvfrom(1 << 17)
            # Loopback shows each packet as it leaves and as it comes.
            if source[2] != socket.PACKET_OUTGOING:
                continue
            packet = read(data)
            if (packet.protocol, packet.port) == (socket.IPPROTO_UDP, self.place[1]):
                break
            self.seen.append(packet)
        _, lost = struct.unpack("II", self.socket.getsockopt(PACKET_LEVEL, STATISTICS, 8))
        assert lost == 0, f"the kernel dropped {lost} packets before they were counted"
        return [packet for packet in self.seen if (packet.protocol, packet.port) == (protocol, port)]

    def close(self):
        self.socket.close()
        self.marker.close()


def filter_of(ports):
    """Classic BPF: packets of IPv4 and IPv6 to one of these ports."""

    def step(code, value, if_true=0, if_false=0):
        return struct.pack("HBBI", code, if_true, if_false, value)

    load = [
        step(0x30, 0),  # the first byte
        step(0x74, 4),  # its upper half is the version
        step(0x15, 6, 3, 0),  # 6: behind the three that follow
        step(0xB1, 0),  # X is the length of the IPv4 header
        step(0x48, 2),  # the destination port behind it
        step(0x05, 1),
        step(0x28, 42),  # the same behind an IPv6 header
    ]
    match = [step(0x15, port, len(ports) - index, 0) for index, port in enumerate(ports)]
    return load + match + [step(0x06, 0), step(0x06, 1 << 18)]


def read(data):
    if data[0] >> 4 == 4:
        header, protocol, end = (data[0] & 15) * 4, data[9], struct.unpack("!H", data[2:4])[0]
    else:
        header, protocol, end = 40, data[6], 40 + struct.unpack("!H", data[4:6])[0]
    (port,) = struct.unpack("!H", data[header + 2 : header + 4])
    if protocol == socket.IPPROTO_TCP:
        flags, payload = data[header + 13], data[header + (data[header + 12] >> 4) * 4 : end]
        return Packet(protocol, port, flags & 0x12 == 0x02, payload)
    return Packet(protocol, port, False, data[header + 8 : end])
