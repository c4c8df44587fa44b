"""Whether a model was built for the data that it is given."""

from __future__ import annotations

from collections.abc import Mapping


def refuse_other_sizes(model: object, sizes: Mapping[str, int], data: object) -> None:
    """Refuse data whose vocabulary, length or classes are not those of the model.

    Args:
        model: The model; its class is named.
        sizes: Its sizes, such as ``{"vocab_size": 31}``.
        data: The data module, with attributes of these names as far as it knows them.

    Raises:
        ValueError: Names the first that differs, and what to build.
    """
    for name, size in sizes.items():
        of_data = getattr(data, name, size)
        if of_data != size:
            raise ValueError(
                f"the model's {name} is {size} and the data's is {of_data}; build the "
                f"{type(model).__name__} with {name}={of_data}"
            )
