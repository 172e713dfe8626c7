"""The command line's client under TLS: which certificates it believes, whom it shows its key, and how it says no."""

import contextlib
import datetime as dt
import socket
import threading
import time
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from api.box import KEYS, Box, keys
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from exabgp_bfd import remote
from exabgp_bfd.core.model import BfdError, ConfigError, Secret
from exabgp_bfd.web.server import WebServer, create_app
from exabgp_bfd.web.tls import TlsFiles

HERE = x509.IPAddress(ip_address("127.0.0.1"))
ELSEWHERE = x509.DNSName("bfd.example.net")
LOCAL = x509.DNSName("localhost")


@dataclass
class Certified:
    """A certificate, its key, and what it was signed with."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def files(self, folder: Path, *chain: "Certified") -> TlsFiles:
        """As an operator has them: the certificate with its chain behind it, and the key."""
        files = TlsFiles(folder / f"{self.certificate.serial_number:x}.pem", folder / "key.pem")
        files.certificate.write_bytes(b"".join(one.pem for one in (self, *chain)))
        plain = serialization.NoEncryption()
        files.key.write_bytes(
            self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        )
        return files


def certify(*names: x509.GeneralName, by: Certified | None = None, authority: bool = False) -> Certified:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"x{time.monotonic_ns()}")])
    issuer, signer = (subject, key) if by is None else (by.certificate.subject, by.key)
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return Certified(made.sign(signer, hashes.SHA256()), key)


@pytest.fixture
def served(tmp_path, settings):
    """Serves the box under TLS with files; gives the port."""
    with contextlib.ExitStack() as ended:

        def begin(files: TlsFiles) -> int:
            chosen = replace(settings, port=0, keys=keys(), ephemeral=None, tls=files)
            web = WebServer(create_app(Box(), chosen), chosen)
            web.start()
            ended.callback(web.stop, 5.0)
            return web.port

        yield begin


def configuration(folder: Path, port: int, certificate: str) -> Path:
    path = folder / "exabgp-bfd.toml"
    path.write_text(f'[api]\nlisten = "127.0.0.1:{port}"\ntls_certificate = "{certificate}"\ntls_key = "key.pem"\n')
    return path


def ask(there: remote.Whereabouts) -> str:
    answer = remote.Remote(there, timeout=20).why("dns")
    return str(answer["service"])


@pytest.mark.parametrize("names", [(HERE,), (ELSEWHERE,), ()], ids=["of here", "of a name", "of none"])
def test_a_configuration_tells_where_and_which_certificate(tmp_path, served, names):
    """Its name is not asked for on loopback: it is made for those who come from elsewhere."""
    files = certify(*names).files(tmp_path)
    port = served(files)
    config = configuration(tmp_path, port, files.certificate.name)  # beside the configuration
    there = remote.find(None, KEYS["read"], config, {})
    assert (there.url, there.certificate) == (f"https://127.0.0.1:{port}", files.certificate)
    assert ask(there) == "dns"
    # An address that was given, and the same file.
    assert ask(remote.find(f"https://127.0.0.1:{port}", KEYS["read"], config, {})) == "dns"


def test_a_certificate_that_an_authority_signed_needs_nothing_else(tmp_path, served):
    """The file has the chain, and not always what it ends in."""
    root = certify(authority=True)
    middle = certify(by=root, authority=True)
    files = certify(ELSEWHERE, by=middle).files(tmp_path, middle)
    port = served(files)
    config = configuration(tmp_path, port, str(files.certificate))
    assert ask(remote.find(None, KEYS["read"], config, {})) == "dns"
    # It was renewed, and the old one is served until the reload that is asked for now.
    certify(ELSEWHERE, by=middle).files(tmp_path, middle).certificate.rename(files.certificate)
    assert ask(remote.find(None, KEYS["read"], config, {})) == "dns"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_another_certificate_is_not_believed_and_gets_no_key(tmp_path, served, host):
    files = certify(HERE, LOCAL).files(tmp_path)
    port = served(files)
    (tmp_path / "other.pem").write_bytes(certify(HERE, LOCAL).pem)
    config = configuration(tmp_path, port, "other.pem")
    for there in (
        remote.find(f"https://{host}:{port}", "a-key-for-nobody-else", config, {}),
        remote.find(f"https://{host}:{port}", "a-key-for-nobody-else", None, {}),
    ):
        with pytest.raises(BfdError, match="its certificate is not believed") as error:
            ask(there)
        assert "SIGHUP" in str(error.value)
        assert "a-key-for-nobody-else" not in str(error.value)


def test_by_name_the_name_is_compared(tmp_path, served):
    files = certify(ELSEWHERE, HERE).files(tmp_path)
    port = served(files)
    config = configuration(tmp_path, port, files.certificate.name)
    there = remote.find(f"https://localhost:{port}", KEYS["read"], config, {})
    with pytest.raises(BfdError, match=r"not believed.*https://NAME:PORT"):
        ask(there)
    good = certify(LOCAL).files(tmp_path)
    port = served(good)
    config = configuration(tmp_path, port, good.certificate.name)
    assert ask(remote.find(f"https://localhost:{port}", KEYS["read"], config, {})) == "dns"


def test_without_the_certificate_nothing_is_believed_on_loopback_either(tmp_path):
    context = remote._trust("127.0.0.1", None)
    assert context.check_hostname
    assert context.verify_mode is remote.ssl.CERT_REQUIRED
    (tmp_path / "own.pem").write_bytes(certify(HERE).pem)
    for host, compared in (("127.0.0.1", False), ("::1", False), ("localhost", True), ("192.0.2.1", True), ("a", True)):
        context = remote._trust(host, tmp_path / "own.pem")
        assert (context.check_hostname, context.verify_mode) == (compared, remote.ssl.CERT_REQUIRED)
        # Where no name is compared, no authority of the system's may stand for anybody.
        assert len(context.get_ca_certs()) <= 1 or compared


def test_a_certificate_that_cannot_be_read_is_told_at_once(tmp_path):
    config = configuration(tmp_path, 8443, "missing.pem")
    there = remote.find(None, "key", config, {})
    with pytest.raises(ConfigError, match=r"missing\.pem cannot be read: No such file"):
        remote.Remote(there)
    (tmp_path / "missing.pem").write_text("nothing")
    with pytest.raises(ConfigError, match=r"missing\.pem cannot be read: it is no certificate"):
        remote.Remote(there)
    config.write_text("[api]\ntls_certificate = 7\n")
    with pytest.raises(ConfigError, match="tls_certificate: must be the path of a file"):
        remote.find(None, "key", config, {})


def test_with_an_address_and_a_key_the_file_need_not_be_there_for_us(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        there = remote.find("https://127.0.0.1:8443", "key", path, {})
        assert there == remote.Whereabouts("https://127.0.0.1:8443", Secret("key"))
    config = configuration(tmp_path, 8443, "own.pem")
    assert remote.find("http://127.0.0.1:80", "key", config, {}).certificate is None
    # Also elsewhere: it may be ours, by its name.
    there = remote.find("https://bfd.example.net", "key", config, {})
    assert there.certificate == tmp_path / "own.pem"


@contextlib.contextmanager
def answering(first: bytes, trickle: bytes = b""):
    """Somebody who says something, whatever comes; and goes on with octet after octet."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = threading.Event()

        def talk() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    connection.sendall(first)
                    while trickle and not ended.wait(0.02):
                        connection.sendall(trickle)
                    connection.settimeout(10)
                    while connection.recv(4096):
                        pass

        thread = threading.Thread(target=talk, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)
        assert not thread.is_alive()


def test_who_speaks_no_tls_is_told(tmp_path):
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    with answering(refusal) as url, pytest.raises(BfdError, match=r"speaks no TLS .*try http://"):
        remote.Remote(remote.Whereabouts(url, Secret("a-key"))).why("dns")


def test_who_trickles_a_handshake_is_given_up():
    """Each octet comes in time, and the handshake never ends: a record of 16 KiB that is never whole."""
    with (
        answering(b"\x16\x03\x03\x40\x00", b"\x02") as url,
        pytest.raises(BfdError, match=r"did not answer within 0\.4 s"),
    ):
        remote.Remote(remote.Whereabouts(url), timeout=0.4).why("dns")


def test_the_stream_goes_by_the_same_connection(tmp_path, served):
    files = certify(ELSEWHERE).files(tmp_path)
    port = served(files)
    there = remote.find(None, KEYS["read"], configuration(tmp_path, port, files.certificate.name), {})
    with contextlib.closing(remote.Remote(there).stream({}, 7)) as chunks:
        assert b"retry: " in next(chunks)
