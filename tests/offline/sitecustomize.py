"""Python imports this as it starts, where PYTHONPATH names this folder: no connection leaves this machine."""

import ipaddress
import socket

connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo


def connect_here(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
        raise OSError(f"offline: no connection to {address[0]}")
    return connect(self, address)


def look_up_here(host, *args, **kwargs):
    if host not in (None, "", "localhost", socket.gethostname()) and not host[0].isdigit():
        raise socket.gaierror(socket.EAI_NONAME, f"offline: {host} is not looked up")
    return getaddrinfo(host, *args, **kwargs)


socket.socket.connect, socket.getaddrinfo = connect_here, look_up_here
