"""Requests that servers read in different ways. Pure."""

from credential_injector.proxy.request import Head

# RFC 9110 section 5.6.2, and RFC 9112 section 3.2.1. Deleting what is allowed is the fastest way to find what is not.
_TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TARGET = bytes(range(0x21, 0x7F)) + bytes(range(0x80, 0x100))
_VALUE = bytes(set(range(0x100)) - set(b"\r\n\0"))


def malformed(head: Head) -> str | None:
    """What in the request one program reads as the end of a line, or as another host, and another does not.

    HTTP/2 carries such names and values as they are, and mitmproxy may write them into HTTP/1: then the server reads
    another request than the one that was looked at.
    """
    method, path, fields = head.method, head.path, head.headers.fields
    if not method or method.translate(None, _TOKEN):
        return "its method is no token"
    if path.translate(None, _TARGET) or not (path[:1] == b"/" or path == b"*"):
        return "its path does not begin with a slash, or holds a space or a control character"
    if not fields:
        return None
    names, values = zip(*fields, strict=True)
    if b"".join(names).translate(None, _TOKEN):
        return "the name of one of its headers is no token"
    if b"".join(values).translate(None, _VALUE):
        return "the value of one of its headers holds a line break or a NUL"
    return None
