"""Decides by its configuration alone whether a network is made of nothing but Keras' own parts.

Loading a network makes whatever objects its configuration names, and many ways were found to name ones that run code,
read files or switch the safe mode off. So everything is refused that is not on the lists below.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from shared.errors import ImportRefused

_CLASS = re.compile(r"[A-Z][A-Za-z0-9_]*")
_FUNCTION = re.compile(r"[a-z][a-z0-9_]*")

_VALUES = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
"""Notations of plain values; ``__lambda__`` and ``__typespec__`` are not among them."""

_MODULES = frozenset(
    {
        "keras.constraints",
        "keras.dtype_policies",
        "keras.initializers",
        "keras.layers",
        "keras.losses",
        "keras.metrics",
        "keras.optimizers",
        "keras.optimizers.schedules",
        "keras.quantizers",
        "keras.regularizers",
        "keras.src.ops.core",
        "keras.src.ops.einops",
        "keras.src.ops.image",
        "keras.src.ops.linalg",
        "keras.src.ops.math",
        "keras.src.ops.nn",
        "keras.src.ops.numpy",
    }
)
"""Modules whose classes, but not whose functions, may be named."""

_CLASSES = {
    "keras": frozenset(
        {"DTypePolicy", "FloatDTypePolicy", "Functional", "Model", "QuantizedDTypePolicy", "Sequential"}
    ),
    "keras.models": frozenset({"Functional", "Model", "Sequential"}),
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.models.sequential": frozenset({"Sequential"}),
}
"""Modules of which only these classes may be named."""

_FUNCTION_MODULES = frozenset({None, "builtins", "keras.activations", "keras.losses", "keras.metrics"})
_NO_FUNCTIONS = frozenset({"deserialize", "get", "serialize"})

_CODE = frozenset(
    {
        "FlaxLayer",
        "Input",
        "JaxLayer",
        "Lambda",
        "SlicingOpLambda",
        "TFOpLambda",
        "TFSMLayer",
        "TensorFlowOpLayer",
        "TorchModuleWrapper",
    }
)
"""Classes of Keras that hold code, or load it from elsewhere."""

_FILES = frozenset({"file", "file_path", "filename", "filepath", "idf_weights", "path", "url", "vocabulary"})
"""Keys whose value, when it is a text, is read as the path of a file or as an address."""

_MOST_OBJECTS = 1_000_000


def check_network_config(config: Mapping[str, Any]) -> None:
    """Checks a network's whole configuration.

    The ``compile_config`` of the outermost model is left out: an import never compiles.

    Raises:
        ImportRefused: It names something that is not one of Keras' plain parts.
    """
    if "class_name" not in config:
        raise ImportRefused("the configuration does not describe a model")
    for item in _objects({key: value for key, value in config.items() if key != "compile_config"}):
        if "class_name" in item:
            _check_object(item)
        elif "registered_name" in item or "spec_name" in item:
            raise ImportRefused("the configuration names a custom object without its class")
        for key in _FILES & item.keys():
            if isinstance(item[key], str):
                raise ImportRefused(
                    f"the configuration reads the file {item[key][:200]!r} through {key}; a model has to hold its "
                    "vocabulary itself: save it again after adapt() or with the vocabulary given as a list"
                )


def _objects(top: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every object of a configuration, without recursion: a deep one must not exhaust the stack."""
    waiting: list[Any] = [top]
    seen = 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting.extend(child for child in value.values() if isinstance(child, (dict, list)))
        else:
            waiting.extend(child for child in value if isinstance(child, (dict, list)))
        seen += 1
        if seen > _MOST_OBJECTS:
            raise ImportRefused(f"the configuration has more than {_MOST_OBJECTS} objects")


def _check_object(item: Mapping[str, Any]) -> None:
    name, module, registered = item["class_name"], item.get("module"), item.get("registered_name")
    if not isinstance(name, str) or not isinstance(module, str | None) or not isinstance(registered, str | None):
        raise ImportRefused("the configuration names an object in a way that Keras never writes")
    if name in _VALUES:
        return
    if name == "function":
        _check_function(item, module, registered)
        return
    if name in _CODE or name == "__lambda__":
        raise ImportRefused(f"the network has a {name} layer, which holds code; models are taken without code only")
    if registered not in (None, name) or ("module" in item and module is None):
        raise ImportRefused(
            f"the network has the custom object {(registered or name)[:200]!r}; only Keras' own parts are taken"
        )
    known = _CLASSES.get(module) if module is not None else None
    fine = _CLASS.fullmatch(name) is not None
    if module is not None:
        fine = fine and (name in known if known is not None else module in _MODULES)
    if not fine:
        raise ImportRefused(
            f"the network has the object {name[:200]!r} of {(module or 'no module')[:200]!r}; only Keras' own layers "
            "and operations are taken"
        )


def _check_function(item: Mapping[str, Any], module: str | None, registered: str | None) -> None:
    name = item.get("config")
    named = isinstance(name, str) and _FUNCTION.fullmatch(name) is not None and name not in _NO_FUNCTIONS
    if not named or module not in _FUNCTION_MODULES or registered not in (None, "function", name):
        raise ImportRefused(
            f"the network names the function {str(name)[:200]!r} of {str(module)[:200]!r}; only Keras' own activations "
            "are taken"
        )
