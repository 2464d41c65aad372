import subprocess
from pathlib import Path


def make_certificate(folder: Path, openssl: str, name: str = "DNS:localhost,IP:127.0.0.1") -> tuple[Path, Path]:
    """A certificate that signed itself, and its key."""
    folder.mkdir(parents=True, exist_ok=True)
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=headrace"]
    subprocess.run([*command, "-addext", f"subjectAltName={name}"], check=True, capture_output=True)
    return certificate, key
