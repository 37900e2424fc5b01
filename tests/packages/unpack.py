"""Unpacks the one image of an OCI archive, and checks every digest and size. usage: unpack.py ARCHIVE FOLDER"""

import gzip
import hashlib
import io
import json
import sys
import tarfile


def main():
    with tarfile.open(sys.argv[1]) as archive:
        files = {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}

    def blob(descriptor):
        content = files.pop("blobs/" + descriptor["digest"].replace(":", "/"))
        if hashlib.sha256(content).hexdigest() != descriptor["digest"].removeprefix("sha256:") or len(content) != descriptor["size"]:
            sys.exit(f"packages: {descriptor} is not its blob")
        return content

    if json.loads(files.pop("oci-layout")) != {"imageLayoutVersion": "1.0.0"}:
        sys.exit("packages: oci-layout has another version")
    (entry,) = json.loads(files.pop("index.json"))["manifests"]
    manifest = json.loads(blob(entry))
    # What Docker reads without the containerd image store: the same image, with the name that the others take from the annotation.
    (old,) = json.loads(files.pop("manifest.json"))
    parts = ["blobs/" + part["digest"].replace(":", "/") for part in (manifest["config"], *manifest["layers"])]
    name = entry["annotations"]["io.containerd.image.name"]
    if [old["Config"], *old["Layers"]] != parts or [f"docker.io/library/{tag}" for tag in old["RepoTags"]] != [name]:
        sys.exit(f"packages: manifest.json says {old}")
    config = json.loads(blob(manifest["config"]))
    for descriptor, plain in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        layer = tarfile.open(fileobj=io.BytesIO(content := blob(descriptor)))
        if "sha256:" + hashlib.sha256(gzip.decompress(content)).hexdigest() != plain:
            sys.exit(f"packages: the layer {plain} has another content")
        layer.extractall(sys.argv[2])
    if files:
        sys.exit(f"packages: nothing refers to {sorted(files)}")
    wanted = {"Entrypoint": ["/tollgate"], "User": "65532:65532"}
    if {key: config["config"].get(key) for key in wanted} != wanted or config["config"]["Healthcheck"]["Test"] != ["CMD", "/tollgate", "health"]:
        sys.exit(f"packages: the image says {config['config']}")


main()
