import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from shared.errors import ImportRefused
from workers.importing.scan import scan

LIMIT = 2**30

Archive = Callable[..., Path]
WithLayer = Callable[[Any], dict[str, Any]]


def refused(path: Path, because: str, limit: int = LIMIT) -> None:
    with pytest.raises(ImportRefused, match=because):
        scan(path, limit)


def hdf5(build: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        build(file)
    return buffer.getvalue()


def legacy(tmp_path: Path, config: Any) -> Path:
    path = tmp_path / "legacy.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.create_dataset("model_weights/dense/kernel", data=np.ones((4, 2), "f4"))
    return path


def test_a_plain_network_is_accepted(archive: Archive) -> None:
    scan(archive(), LIMIT)


def test_a_plain_legacy_network_is_accepted(tmp_path: Path) -> None:
    layers = [
        {"class_name": "Dense", "config": {"units": 2, "kernel_initializer": {"class_name": "Zeros", "config": {}}}}
    ]
    scan(legacy(tmp_path, {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}), LIMIT)


def test_what_a_network_was_compiled_with_does_not_matter(archive: Archive, dense_config: dict[str, Any]) -> None:
    dense_config["compile_config"] = {"loss": {"module": "mine", "class_name": "MyLoss", "config": {}}}
    scan(archive(dense_config), LIMIT)


def test_cve_2025_1550_a_config_that_names_any_module(archive: Archive, with_layer: WithLayer) -> None:
    call = {"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}
    layer = {
        "module": "keras.layers",
        "class_name": "Activation",
        "config": {"name": "run", "activation": call},
        "inbound_nodes": [{"args": ["touch /tmp/owned"], "kwargs": {}}],
    }
    refused(archive(with_layer(layer)), "names the function 'system' of 'os'")


def test_cve_2025_8747_a_function_of_keras_itself_as_a_gadget(archive: Archive, with_layer: WithLayer) -> None:
    gadget = {"module": "keras.utils", "class_name": "function", "config": "get_file", "registered_name": "function"}
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "get", "function": gadget}}
    refused(archive(with_layer(layer)), "Lambda|get_file")
    layer["class_name"] = "Activation"
    refused(archive(with_layer(layer)), "Lambda|get_file")


def test_cve_2025_9906_a_config_that_switches_the_safe_mode_off(archive: Archive, with_layer: WithLayer) -> None:
    switch = {
        "module": "keras.config",
        "class_name": "function",
        "config": "enable_unsafe_deserialization",
        "registered_name": "function",
    }
    refused(
        archive(with_layer({"module": "keras.layers", "class_name": "Activation", "config": {"activation": switch}})),
        "enable_unsafe_deserialization",
    )
    as_class = {"module": "keras.config", "class_name": "enable_unsafe_deserialization", "config": {}}
    refused(archive(as_class), "enable_unsafe_deserialization")


def test_cve_2025_9905_a_lambda_in_a_legacy_file(tmp_path: Path) -> None:
    code = {"class_name": "Lambda", "config": {"function_type": "lambda", "function": ["4wEAAAA=", None, None]}}
    refused(legacy(tmp_path, {"class_name": "Sequential", "config": {"layers": [code]}}), "Lambda")


def test_cve_2024_3660_a_lambda_with_bytecode(archive: Archive, with_layer: WithLayer) -> None:
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}
    refused(
        archive(with_layer({"module": "keras.layers", "class_name": "Activation", "config": {"activation": code}})),
        "__lambda__",
    )


@pytest.mark.parametrize("layer", ["StringLookup", "IntegerLookup", "TextVectorization"])
@pytest.mark.parametrize("path", ["/etc/passwd", "https://169.254.169.254/latest/meta-data", "words.txt"])
def test_cve_2025_12058_a_vocabulary_read_from_elsewhere(
    archive: Archive, with_layer: WithLayer, layer: str, path: str
) -> None:
    refused(
        archive(with_layer({"module": "keras.layers", "class_name": layer, "config": {"vocabulary": path}})),
        "reads the file",
    )


def test_cve_2025_49655_a_pickle_inside_a_torch_layer(archive: Archive, with_layer: WithLayer) -> None:
    config = {"module": {"class_name": "__bytes__", "config": {"value": "gASV"}}}
    refused(
        archive(with_layer({"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": config})),
        "TorchModuleWrapper",
    )


@pytest.mark.parametrize("layer", ["TFSMLayer", "JaxLayer", "FlaxLayer"])
def test_cve_2026_1462_a_layer_that_loads_a_graph_from_elsewhere(
    archive: Archive, with_layer: WithLayer, layer: str
) -> None:
    refused(
        archive(with_layer({"module": "keras.layers", "class_name": layer, "config": {"filepath": "/tmp/graph"}})),
        layer,
    )


def test_cve_2026_1669_weights_that_lie_in_another_file(archive: Archive) -> None:
    stolen = hdf5(lambda file: file.create_dataset("layers/w", (4,), "u1", external=[("/etc/passwd", 0, 4)]))
    refused(archive(weights_file=stolen), "in another file .'/etc/passwd'")


def test_cve_2026_0897_weights_that_declare_more_than_there_is(archive: Archive) -> None:
    bomb = hdf5(lambda file: file.create_dataset("layers/w", (50_000_000, 50_000_000), "f4", chunks=True))
    refused(archive(weights_file=bomb), "declare 10000000000000000 bytes")
    many = hdf5(lambda file: [file.create_dataset(f"w{n}", (2**20, 10), "f4", chunks=True) for n in range(9)])
    refused(archive(weights_file=many), "declare 377487360 bytes")


def test_weights_that_are_a_view_of_another_file(archive: Archive) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "w", (4,))
    refused(archive(weights_file=hdf5(lambda file: file.create_virtual_dataset("w", layout))), "virtual")


@pytest.mark.parametrize("link", [h5py.ExternalLink("/tmp/other.h5", "/w"), h5py.SoftLink("/elsewhere")])
def test_weights_that_link_elsewhere(archive: Archive, tmp_path: Path, link: Any) -> None:
    def build(file: Any) -> None:
        file["w"] = link

    refused(archive(weights_file=hdf5(build)), "link")


def test_weights_packed_with_a_plugin(archive: Archive) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((4,))
    plan.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())

    def build(file: Any) -> None:
        space = h5py.h5s.create_simple((4,))
        h5py.h5d.create(file.id, b"w", h5py.h5t.NATIVE_FLOAT, space, plan)

    refused(archive(weights_file=hdf5(build)), "filter")


def test_weights_that_are_references_or_texts_of_any_length(archive: Archive) -> None:
    texts = hdf5(lambda file: file.create_dataset("w", (2,), h5py.string_dtype()))
    refused(archive(weights_file=texts), "no numbers")
    pairs = hdf5(lambda file: file.create_dataset("w", (2,), np.dtype([("a", "f4"), ("b", "f4")])))
    refused(archive(weights_file=pairs), "no numbers")


def test_groups_that_hold_each_other_end(archive: Archive) -> None:
    def build(file: Any) -> None:
        file.create_group("a")
        file["a/again"] = file["a"]

    scan(archive(weights_file=hdf5(build)), LIMIT)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/cron.d/evil", "assets/../../evil", "assets/a\\b", "C:evil"])
def test_members_that_lie_outside(archive: Archive, name: str) -> None:
    refused(archive(members={name: b"x"}), "outside|does not belong")


@pytest.mark.parametrize("name", ["evil.py", "model.weights.npz", "assets/.hidden", "keras_metadata.pb"])
def test_members_that_do_not_belong(archive: Archive, name: str) -> None:
    refused(archive(members={name: b"x"}), "does not belong")


def test_members_that_are_links(archive: Archive) -> None:
    link = zipfile.ZipInfo("assets/vocabulary.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    refused(archive(members={link: b"/etc/passwd"}), "link")


def test_two_members_of_one_name(archive: Archive) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(members={"config.json": b"{}"})
    refused(path, "two members")


def test_members_that_are_bombs(archive: Archive) -> None:
    refused(archive(members={"assets/zeros": bytes(2**25)}, compression=zipfile.ZIP_DEFLATED), "bomb")
    refused(archive(members={"assets/zeros": bytes(2**20)}), "unpacks to more", limit=2**19)


def test_a_saved_model_is_told_what_to_do(archive: Archive) -> None:
    refused(archive(members={"saved_model.pb": b"x"}), "SavedModel; save the model with model.save")


def test_weights_that_are_not_hdf5(archive: Archive) -> None:
    refused(archive(weights_file=b"PK\x03\x04"), "not HDF5")


def test_an_archive_that_is_cut_off(archive: Archive) -> None:
    path = archive()
    path.write_bytes(path.read_bytes()[:-40])
    refused(path, "damaged")


@pytest.mark.parametrize(
    ("head", "because"), [(b"\x80\x04\x95abc", "pickle"), (b"GIF89a", "neither"), (b"", "neither")]
)
def test_a_file_of_another_kind(tmp_path: Path, head: bytes, because: str) -> None:
    (tmp_path / "file").write_bytes(head)
    refused(tmp_path / "file", because)


def test_weights_without_a_network(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("w", data=np.ones(3))
    refused(tmp_path / "w.h5", "weights only")


def test_custom_objects(archive: Archive, with_layer: WithLayer) -> None:
    custom = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "Custom>Mine"}
    refused(archive(with_layer(custom)), "custom object 'Custom>Mine'")


def test_a_class_that_nobody_registered(archive: Archive, with_layer: WithLayer) -> None:
    custom = {"module": None, "class_name": "Mine", "config": {}, "registered_name": "Mine"}
    refused(archive(with_layer(custom)), "custom object 'Mine'")


def test_custom_objects_under_a_built_in_name(archive: Archive, with_layer: WithLayer) -> None:
    custom = {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "Custom>Dense"}
    refused(archive(with_layer(custom)), "custom object")


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("keras.layers", "deserialize"),
        ("keras.models", "load_model"),
        ("keras.saving", "load_model"),
        ("keras.src.saving.saving_lib", "KerasFileEditor"),
        ("keras", "Layer"),
        ("keras_hub.models", "Backbone"),
        ("subprocess", "Popen"),
        ("keras.src.ops.core", "map"),
    ],
)
def test_classes_that_are_no_plain_parts(archive: Archive, with_layer: WithLayer, module: str, name: str) -> None:
    refused(archive(with_layer({"module": module, "class_name": name, "config": {}})), "only Keras' own")


def test_type_specs(archive: Archive, with_layer: WithLayer) -> None:
    spec = {"class_name": "__typespec__", "spec_name": "Popen", "module": "subprocess", "config": []}
    refused(archive(with_layer(spec)), "only Keras' own")


def test_a_network_nested_deeper_than_the_stack(archive: Archive) -> None:
    refused(archive('{"class_name": "Sequential", "config": ' + "[" * 200_000 + "]" * 200_000 + "}"), "not JSON")


def test_something_bad_hidden_deep_inside(archive: Archive, dense_config: dict[str, Any]) -> None:
    evil: Any = {"class_name": "Lambda", "config": {}}
    for _ in range(300):
        evil = {"class_name": "Sequential", "config": {"layers": [evil]}}
    dense_config["config"]["layers"].append(evil)
    refused(archive(dense_config), "Lambda")


def test_what_an_inner_network_was_compiled_with_is_looked_at(archive: Archive, with_layer: WithLayer) -> None:
    inner = {
        "module": "keras",
        "class_name": "Sequential",
        "config": {"layers": []},
        "compile_config": {"loss": {"module": "os", "class_name": "function", "config": "system"}},
    }
    refused(archive(with_layer(inner)), "system")
