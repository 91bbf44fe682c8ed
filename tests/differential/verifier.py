"""A second verifier of Nitro attestation documents, for the differential test beside it.

It is written from the specifications alone and shares nothing with bailey-attestation, so that a
mistake of one of them shows as a difference:

- AWS: "Nitro Enclaves Attestation Process" (docs/attestation_process.md of
  aws-nitro-enclaves-nsm-api), with its limits for the fields as the module really signs them
- RFC 8949 (CBOR), RFC 9052 and 9053 (COSE), RFC 5280, 5480 and 5758 and X.690 (certificates)

Values out of CBOR are decoded by cbor2, certificates by cryptography; what these two are lenient
about (keys that occur twice, tags that turn into values, unused bytes) is looked at before.

Reads requests from standard input and answers each on standard output. A frame is the length of
what follows as four bytes, big endian, and then JSON. Request: {"document": hex, "terms": {…}} with
the terms of the corpus's index. Answer: {"accepted": {…}}, {"rejected": "why"}, or {"optional": {"claims":
{…}, "for": "what"}} for what the specifications allow, Nitro has no use for and a reader may refuse.
"""

import hashlib
import json
import re
import struct
import sys
import warnings
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import lru_cache

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

# What cryptography merely warns of in a certificate is a reason to refuse it here.
warnings.simplefilter("error")


class Rejected(Exception):
    """The document is refused; the text says why."""


def require(condition, why):
    if not condition:
        raise Rejected(why)


# CBOR: RFC 8949, appendix C, with the positions of the items kept.

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
# An envelope holds strings, a payload holds maps and arrays of strings.
DEEPEST = 3


@dataclass
class Item:
    """A well-formed data item: its major type, its bytes and the items inside it."""

    major: int
    encoded: bytes
    argument: int | None = None
    items: list = field(default_factory=list)

    def value(self):
        try:
            return cbor2.loads(self.encoded)
        except (cbor2.CBORError, ValueError) as error:
            raise Rejected(f"CBOR: {error}") from error

    def of(self, major, name):
        require(self.major == major, f"{name}: major type {self.major}, not {major}")
        return self.value()

    def is_null(self):
        return self.encoded == b"\xf6"

    def entries(self, major, name):
        """Key and value of each entry; a key must be of type `major` and occur once."""
        require(self.major == MAP, f"{name}: no map")
        found = {}
        for key, value in zip(self.items[::2], self.items[1::2], strict=True):
            key = key.of(major, f"a key of {name}")
            require(key not in found, f"{name}: {key!r} twice")
            found[key] = value
        return found


def only_item(data, name):
    """The one item that `data` consists of."""
    item, end = read_item(data, 0, 0)
    require(end == len(data), f"{name}: {len(data) - end} bytes follow")
    return item


def take(data, at, count):
    require(at + count <= len(data), f"CBOR: ends inside the item at byte {at}")
    return data[at : at + count]


def read_item(data, start, depth):
    require(depth <= DEEPEST, "CBOR: deeper than any document")
    initial = take(data, start, 1)[0]
    at = start + 1
    major, information = initial >> 5, initial & 0x1F
    argument = information
    if 24 <= information <= 27:
        size = 1 << (information - 24)
        argument = int.from_bytes(take(data, at, size), "big")
        at += size
    elif information == 31:
        argument = None
    elif information > 27:
        raise Rejected(f"CBOR: reserved head at byte {start}")
    items = []
    if argument is None:
        require(major in (BYTES, TEXT, ARRAY, MAP), f"CBOR: unexpected end mark at {start}")
        while take(data, at, 1) != b"\xff":
            item, at = read_item(data, at, depth + 1)
            if major in (BYTES, TEXT):
                chunk = item.major == major and item.argument is not None
                require(chunk, "CBOR: a chunk that is no definite string of its type")
            items.append(item)
        at += 1
        require(major != MAP or len(items) % 2 == 0, "CBOR: a key without a value")
    elif major in (BYTES, TEXT):
        take(data, at, argument)
        at += argument
    elif major in (ARRAY, MAP, TAG):
        count = {ARRAY: argument, MAP: 2 * argument, TAG: 1}[major]
        for _ in range(count):
            item, at = read_item(data, at, depth + 1)
            items.append(item)
    elif major == SIMPLE:
        require(information != 24 or argument >= 32, "CBOR: a simple value in two bytes")
    return Item(major, data[start:at], argument, items), at


# The document: AWS, sections 2.2, 3.1 and 3.2.2; RFC 9052, sections 3 and 4.2.

LONGEST_DOCUMENT = 16_384 + 1_024
MANDATORY = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}
OPTIONAL = {"public_key", "user_data", "nonce"}
COSE_SIGN1 = 18
ALGORITHM, ES384 = 1, -35


@dataclass
class Document:
    protected: bytes
    payload: bytes
    signature: bytes
    module_id: str
    timestamp: int
    pcrs: dict
    certificates: list  # DER, from the root to the leaf
    nonce: bytes | None
    user_data: bytes | None
    public_key: bytes | None

    @property
    def debug(self):
        return not any(any(self.pcrs.get(index, b"")) for index in (0, 1, 2))


def sized(data, least, most, name):
    require(least <= len(data) <= most, f"{name}: size {len(data)}, not {least} to {most}")
    return data


def parse(data):
    require(len(data) <= LONGEST_DOCUMENT, "longer than any document")
    envelope = only_item(data, "document")
    if envelope.major == TAG:
        require(envelope.argument == COSE_SIGN1, "another tag than COSE_Sign1's")
        (envelope,) = envelope.items
    require(envelope.major == ARRAY and len(envelope.items) == 4, "no array of four")
    protected, unprotected, payload, signature = envelope.items
    protected = protected.of(BYTES, "protected header")
    require(unprotected.major == MAP and not unprotected.items, "unprotected header: not empty")
    payload = sized(payload.of(BYTES, "payload"), 1, 16_384, "payload")
    signature = sized(signature.of(BYTES, "signature"), 96, 96, "signature")
    check_protected(protected)
    return Document(protected, payload, signature, **claims(payload))


def check_protected(protected):
    # RFC 9052, section 3: an empty header is a string of no bytes.
    require(protected, "protected header: empty")
    labels = {}
    header = only_item(protected, "protected header")
    require(header.major == MAP, "protected header: no map")
    for label, value in zip(header.items[::2], header.items[1::2], strict=True):
        require(label.major in (UNSIGNED, NEGATIVE), "protected header: a label of text")
        label = label.value()
        require(label not in labels, f"protected header: {label} twice")
        labels[label] = value
    require(labels.keys() == {ALGORITHM}, f"protected header: labels {list(labels)}")
    require(labels[ALGORITHM].of(NEGATIVE, "alg") == ES384, "alg: not ES384")


def claims(payload):
    fields = only_item(payload, "payload").entries(TEXT, "payload")
    require(MANDATORY <= fields.keys(), f"without {MANDATORY - fields.keys()}")
    unknown = fields.keys() - MANDATORY - OPTIONAL
    require(not unknown, f"unknown fields {unknown}")
    module_id = fields["module_id"].of(TEXT, "module_id")
    sized(module_id.encode(), 1, 256, "module_id")
    timestamp = fields["timestamp"].of(UNSIGNED, "timestamp")
    require(timestamp > 0, "timestamp: 0")
    require(fields["digest"].of(TEXT, "digest") == "SHA384", "digest: not SHA384")
    return {
        "module_id": module_id,
        "timestamp": timestamp,
        "pcrs": registers(fields["pcrs"]),
        "certificates": bundle(fields["cabundle"], fields["certificate"]),
        **{name: optional(fields.get(name), name) for name in OPTIONAL},
    }


def registers(pcrs):
    values = {}
    for index, value in pcrs.entries(UNSIGNED, "pcrs").items():
        require(index < 32, f"pcrs: PCR{index}")
        values[index] = sized(value.of(BYTES, f"PCR{index}"), 48, 48, f"PCR{index}")
    sized(values, 1, 32, "pcrs")
    return values


def bundle(cabundle, certificate):
    require(cabundle.major == ARRAY, "cabundle: no array")
    # Each entry costs a signature: eight is twice as many as there are.
    sized(cabundle.items, 1, 8, "cabundle")
    return [
        sized(item.of(BYTES, "a certificate"), 1, 1_024, "a certificate")
        for item in [*cabundle.items, certificate]
    ]


def optional(item, name):
    if item is None or item.is_null():
        return None
    return sized(item.of(BYTES, name), 0, 1_024, name)


# Certificates: RFC 5280, section 4, in the DER of X.690, section 10 and 11.

BOOLEAN, INTEGER, BIT_STRING, OCTET_STRING, OID = 0x01, 0x02, 0x03, 0x04, 0x06
UTC_TIME, GENERALIZED_TIME, SEQUENCE, VERSION, EXTENSIONS = 0x17, 0x18, 0x30, 0xA0, 0xA3
BASIC_CONSTRAINTS, KEY_USAGE = bytes.fromhex("551d13"), bytes.fromhex("551d0f")
# RFC 5758, section 3.2: ecdsa-with-SHA384, whose parameters are left out.
ECDSA_WITH_SHA384 = bytes.fromhex("300a06082a8648ce3d040303")
# RFC 5480, section 2: id-ecPublicKey, secp384r1, an uncompressed point (97 bytes that start with 4).
P384_KEY = bytes.fromhex("3076301006072a8648ce3d020106052b8104002203620004")
DIGITAL_SIGNATURE, KEY_CERT_SIGN = 0, 5
TRUE = b"\xff"


@dataclass
class Certificate:
    signed: bytes
    signature: bytes
    issuer: bytes
    subject: bytes
    not_before_ms: int
    not_after_ms: int
    key: ec.EllipticCurvePublicKey
    authority: bool
    constraints_critical: bool
    path_length: int | None
    usages: set
    oddity: str | None  # what a reader need not be able to read


def elements(content):
    """Tag, content and whole of each DER element that `content` consists of."""
    found, at = [], 0
    while at < len(content):
        head = content[at : at + 2]
        require(len(head) == 2 and head[0] & 0x1F != 0x1F, "DER: no head")
        size, start = head[1], at + 2
        if size >= 0x80:
            digits = content[start : start + size - 0x80]
            start += len(digits)
            size = int.from_bytes(digits, "big")
            require(digits and digits[0] != 0 and size >= 0x80, "DER: not the shortest length")
        require(start + size <= len(content), "DER: too short")
        found.append((head[0], content[start : start + size], content[at : start + size]))
        at = start + size
    return found


def only_element(tag, encoded, name):
    found = elements(encoded)
    require(len(found) == 1 and found[0][0] == tag, f"{name}: not one element of type {tag:#x}")
    return found[0][1]


@lru_cache(maxsize=4_096)
def certificate(der):
    try:
        decoded = x509.load_der_x509_certificate(der)
        require(decoded.version == x509.Version.v3, "certificate: not of version 3")
        key = decoded.public_key()
    except (ValueError, TypeError, Warning, x509.InvalidVersion) as error:
        raise Rejected(f"certificate: {error}") from error
    except Exception as error:  # UnsupportedAlgorithm and its like
        raise Rejected(f"certificate: {error!r}") from error
    parts = elements(only_element(SEQUENCE, der, "certificate"))
    require(len(parts) == 3, "certificate: not three parts")
    (_, content, signed), (_, _, algorithm), (_, signature, _) = parts
    fields = elements(content)
    require(len(fields) >= 8 and fields[0][0] == VERSION, "certificate: no version")
    (_, serial, _), (_, _, inner), (_, _, issuer), (_, validity, _), (_, _, subject) = fields[1:6]
    # RFC 5280, section 4.1.2.2: authorities keep to 20 bytes, which the sign makes 21 (AWS's have
    # them); whether more are refused is left to the reader.
    require(len(serial) <= 21, "certificate: serial number of more than 21 bytes")
    require(inner == algorithm == ECDSA_WITH_SHA384, "certificate: not ECDSA with SHA-384")
    require(fields[6][2].startswith(P384_KEY), "certificate: no uncompressed point of P-384")
    extensions = extensions_of(fields[7:])
    constraints_critical, constraints = extensions.get(BASIC_CONSTRAINTS, (False, None))
    authority, path_length = basic_constraints(constraints)
    usage = extensions.get(KEY_USAGE)
    usages = key_usages(usage[1]) if usage else set()
    require(signature[:1] == b"\0", "certificate: a signature of no whole bytes")
    identifiers = [*attributes(issuer), *attributes(subject), *extensions]
    times = [time_ms(tag, content) for tag, content, _ in elements(validity)]
    require(len(times) == 2, "validity: not two times")
    return Certificate(
        signed=signed,
        signature=signature[1:],
        issuer=issuer,
        subject=subject,
        not_before_ms=times[0],
        not_after_ms=times[1],
        key=key,
        authority=authority,
        constraints_critical=constraints_critical,
        path_length=path_length,
        usages=usages,
        oddity=oddity(identifiers, times, path_length, usages),
    )


def attributes(name):
    """The object identifier of each attribute of a name (section 4.1.2.4)."""
    for _, parts, _ in elements(only_element(SEQUENCE, name, "a name")):
        for _, attribute, _ in elements(parts):
            yield elements(attribute)[0][1]


def oddity(identifiers, times, path_length, usages):
    # X.690, section 8.19.4: 40 times the first arc, plus the second.
    if any(identifier[0] >= 3 * 40 for identifier in identifiers):
        return "an object identifier above 2.39"
    if min(times) < 0:
        return "a time before 1970"
    if path_length is not None and path_length > 255:
        return "a path length above 255"
    if usages and max(usages) > 8:
        return "a key usage that has no name"
    return None


def extensions_of(fields):
    """Whether it is critical, and the content, of each extension, by its object identifier."""
    last_tag, content, _ = fields[-1]
    require(last_tag == EXTENSIONS, "certificate: no extensions")
    found = {}
    for _, extension, _ in elements(only_element(SEQUENCE, content, "extensions")):
        (_, name, _), *critical, (_, value, _) = elements(extension)
        # X.690, section 11.5: what is the default is left out.
        require(not critical or critical[0][:2] == (BOOLEAN, TRUE), "an extension's critical flag")
        require(name not in found, f"extension {name.hex()} twice")
        known = name in (BASIC_CONSTRAINTS, KEY_USAGE)
        require(known or not critical, f"critical extension {name.hex()} is unknown")
        found[name] = (bool(critical), value)
    return found


def basic_constraints(encoded):
    """Section 4.2.1.9: whether it is an authority, and how many may follow."""
    if encoded is None:
        return False, None
    parts = elements(only_element(SEQUENCE, encoded, "basicConstraints"))
    authority = bool(parts) and parts[0][0] == BOOLEAN
    if authority:
        require(parts.pop(0)[1] == TRUE, "basicConstraints: cA is the default")
    if not parts:
        return authority, None
    require(authority, "basicConstraints: a path length without cA")
    require(len(parts) == 1 and parts[0][0] == INTEGER, "basicConstraints: unknown parts")
    length = parts[0][1]
    require(length and length[0] < 0x80, "basicConstraints: no path length")
    require(len(length) == 1 or length[0] != 0 or length[1] >= 0x80, "basicConstraints: padded")
    return True, int.from_bytes(length, "big")


def key_usages(encoded):
    """Section 4.2.1.3: the numbers of the bits that are set."""
    content = only_element(BIT_STRING, encoded, "keyUsage")
    require(content and content[0] < 8, "keyUsage: no bit string")
    unused, octets = content[0], content[1:]
    require(octets or not unused, "keyUsage: unused bits of nothing")
    if octets:
        # X.690, section 11.2: the last bit of a list of named bits is one, those after it zero.
        require(octets[-1] & ((1 << unused + 1) - 1) == 1 << unused, "keyUsage: not canonical")
    bits = "".join(f"{octet:08b}" for octet in octets)
    return {number for number, bit in enumerate(bits) if bit == "1"}


def time_ms(tag, content):
    """Section 4.1.2.5: two digits for the years 1950 to 2049, four for those after."""
    text = content.decode("ascii", "replace")
    if tag == UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    else:
        require(tag == GENERALIZED_TIME and text[:4] >= "2050", "validity: in the wrong form")
    require(re.fullmatch("[0-9]{14}Z", text), "validity: no time")
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError as error:
        raise Rejected(f"validity: {error}") from error
    return int(moment.timestamp()) * 1_000


@lru_cache(maxsize=4_096)
def signature_holds(point, signature, message):
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), point)
    try:
        key.verify(signature, message, ec.ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True


def check_signature(key, signature, message, name):
    numbers = key.public_numbers()
    point = b"\x04" + numbers.x.to_bytes(48, "big") + numbers.y.to_bytes(48, "big")
    require(signature_holds(point, signature, message), f"{name}: the signature does not hold")


# Trust: AWS, section 3.2; RFC 5280, section 6.1.3.


def check_chain(document, root, at_ms, skew_ms):
    found = hashlib.sha256(document.certificates[0]).hexdigest()
    require(found == root, f"the root {found} is not trusted")
    chain = [certificate(der) for der in document.certificates]
    *authorities, leaf = chain
    for index, authority in enumerate(authorities):
        name = f"cabundle[{index}]"
        require(authority.authority, f"{name}: no authority")
        require(authority.constraints_critical, f"{name}: constraints that are not critical")
        require(KEY_CERT_SIGN in authority.usages, f"{name}: may not sign certificates")
        below = len(authorities) - index - 1
        limit = authority.path_length
        require(limit is None or below <= limit, f"{name}: {below} authorities below it")
    require(not leaf.authority, "leaf: an authority")
    require(DIGITAL_SIGNATURE in leaf.usages, "leaf: may not sign documents")
    for one in chain:
        # A clock that is behind may see a certificate before its time, never one after it.
        require(one.not_before_ms <= at_ms + skew_ms, "a certificate that is not valid yet")
        require(at_ms <= one.not_after_ms, "a certificate that has expired")
    for issuer, subject in zip(chain, chain[1:]):
        require(subject.issuer == issuer.subject, "a certificate of another issuer")
        check_signature(issuer.key, subject.signature, subject.signed, "certificate")
    # RFC 9052, section 4.4.
    message = cbor2.dumps(["Signature1", document.protected, b"", document.payload])
    r, s = (int.from_bytes(document.signature[half], "big") for half in (slice(48), slice(48, 96)))
    check_signature(leaf.key, encode_dss_signature(r, s), message, "document")


# What the verifier was asked to look for: AWS, section 2.2.2 and the user guide on PCRs.


def check_terms(document, terms, at_ms):
    own_time = "at_ms" not in terms
    skew_ms = terms.get("skew_ms", 0)
    if not own_time:
        require(document.timestamp <= at_ms + skew_ms, "made in the future")
        age_ms = max(0, at_ms - document.timestamp)
        require(age_ms <= terms.get("max_age_ms", age_ms), "too old")
    issued_at_ms = terms.get("issued_at_ms", 0)
    require(document.timestamp >= issued_at_ms - skew_ms, "older than its question")
    for name in ("nonce", "user_data", "public_key"):
        check_bytes(getattr(document, name), terms.get(name), name)
    wanted = terms.get("module_id", document.module_id)
    require(document.module_id == wanted, "another module")
    check_parent(document, terms)
    require(not (terms.get("refuse_debug") and document.debug), "in debug mode")
    for rule in terms.get("pcrs", []):
        check_register(document.pcrs.get(rule["index"]), rule["wanted"])


def check_bytes(found, wanted, name):
    if wanted == "absent":
        require(not found, f"{name}: not asked for")
    elif wanted is not None:
        require(found == bytes.fromhex(wanted["exactly"]), f"{name}: another")


def check_parent(document, terms):
    instance_id = terms.get("instance_id")
    if instance_id is None:
        return
    require(instance_id and document.module_id.startswith(f"{instance_id}-enc"), "another instance")
    require(document.pcrs.get(4) == extended(instance_id), "PCR4: another instance")
    role_arn = terms.get("role_arn")
    require(role_arn is None or document.pcrs.get(3) == extended(role_arn), "PCR3: another role")


def extended(text):
    return hashlib.sha384(bytes(48) + text.encode()).digest()


def check_register(value, wanted):
    require(value is not None, "a register that is missing")
    if wanted == "zero":
        require(not any(value), "a register that is not zero")
    elif wanted == "non_zero":
        require(any(value), "a register that is zero")
    else:
        values = wanted.get("one_of", [wanted.get("exactly")])
        require(value.hex() in values, "a register with another value")


def hexed(value):
    return None if value is None else value.hex()


def judge(data, terms):
    document = parse(data)
    at_ms = terms.get("at_ms", document.timestamp)
    check_chain(document, terms["root"], at_ms, terms.get("skew_ms", 0))
    check_terms(document, terms, at_ms)
    claims = {
        "module_id": document.module_id,
        "timestamp": document.timestamp,
        "pcrs": {str(index): value.hex() for index, value in document.pcrs.items()},
        "nonce": hexed(document.nonce),
        "user_data": hexed(document.user_data),
        "public_key": hexed(document.public_key),
        "debug": document.debug,
    }
    oddities = [certificate(der).oddity for der in document.certificates]
    for oddity in filter(None, oddities):
        return {"optional": {"claims": claims, "for": oddity}}
    return {"accepted": claims}


def answer(request):
    try:
        return judge(bytes.fromhex(request["document"]), request["terms"])
    except Rejected as rejected:
        return {"rejected": str(rejected)}


def main():
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while head := source.read(4):
        (length,) = struct.unpack(">I", head)
        reply = json.dumps(answer(json.loads(source.read(length)))).encode()
        sink.write(struct.pack(">I", len(reply)) + reply)
        sink.flush()


if __name__ == "__main__":
    main()
