"""A certificate authority for the checks, and the certificates that it signs, made by openssl."""

import subprocess

from world import path


def openssl(*words, feed=None):
    done = subprocess.run(["openssl", *words], input=feed, capture_output=True, check=True)
    return done.stdout


class Authority:
    """A certificate authority. `self.pem` is the path of its certificate."""

    def __init__(self, name):
        self.name, self.key, self.pem = name, path(f"{name}.key"), path(f"{name}.pem")
        openssl("req", "-x509", *EC, "-keyout", self.key, "-out", self.pem, "-days", "120", "-subj", f"/CN={name}")

    def sign(self, name, subject, hosts=(), usage="serverAuth", kind=None):
        """Writes the files NAME.pem (with the chain) and NAME.key."""
        key, request, pem, extensions = (path(f"{name}.{end}") for end in ("key", "csr", "pem", "ext"))
        openssl("req", *(kind or EC), "-keyout", key, "-out", request, "-subj", subject)
        lines = ["basicConstraints=CA:FALSE", f"extendedKeyUsage={usage}"]
        if hosts:
            lines.append("subjectAltName=" + ",".join(hosts))
        with open(extensions, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        openssl("x509", "-req", "-in", request, "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days", "120",
                "-extfile", extensions, "-out", pem)
        with open(self.pem, "rb") as chain, open(pem, "ab") as file:
            file.write(chain.read())
        return pem, key


EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
RSA = ["-newkey", "rsa:2048", "-nodes"]
