"""Many independent seeds of one ordinary module, trained side by side as one computation."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from lightning_modules.ensemble.member import NetworkWithHead
from lightning_modules.networks.seeded_dropout import SeededDropout, hash32

Build = Callable[[], NetworkWithHead]

# Members of one computation. Sixty at a time take longer than three times twenty: what a step of
# these small networks touches no longer stays in a core's cache (docs/performance.md).
_AT_A_TIME = 24
# Dynamo compiles a function for this many sizes, 8 unless told, and runs further ones uncompiled.
_COMPILED_SIZES = 64


class UncompiledWarning(UserWarning):
    """What was to be compiled could not be, and runs several times slower."""


class Ensemble(nn.Module):
    """S members of one architecture with stacked parameters, each a seed of its own.

    The member is an ordinary module that knows nothing of this. Its parameters are stacked to
    (S, ...), and ``torch.func.vmap`` runs all members at once: twenty networks of 5,000 parameters
    cost one about as much as one does, since at this size the time goes into Python and kernel
    launches. Losses are per member and optimizers that work element by element (Adam, AdamW, SGD)
    keep members independent, so that member s trains as a run of seed s alone would.

    Args:
        build: Returns a freshly initialized member. Called once per seed, with torch's global
            generator seeded to it. Or one such function per member, whose modules may differ in the
            values of their buffers.
        seeds: One seed per member; members of one seed start alike.

    Attributes:
        stacked: The member's module tree with every parameter (S, ...): checkpoint keys are the
            member's own under ``stacked.``.

    Raises:
        ValueError: No seed, or a member with ``nn.Dropout``, whose masks come from one generator
            for all (use ``SeededDropout``).
    """

    seed_values: Tensor

    def __init__(self, build: Build | Sequence[Build], seeds: Sequence[int]) -> None:
        super().__init__()
        if not seeds:
            raise ValueError(f"seeds are {list(seeds)}; give at least one")
        self.seeds = [int(seed) for seed in seeds]
        builds = [build] * len(self.seeds) if callable(build) else build
        members = [
            _build_seeded(build, seed) for build, seed in zip(builds, self.seeds, strict=True)
        ]
        for name, child in members[0].named_modules():
            if isinstance(child, nn.modules.dropout._DropoutNd) and child.p > 0:
                raise ValueError(
                    f"{name} is an nn.{type(child).__name__}, which cannot draw apart for each "
                    f"seed; use lightning_modules.SeededDropout({child.p})"
                )
        for member in members:
            for dropout in _dropouts(member):
                dropout.key = torch.zeros((), dtype=torch.int64)
        parameters, buffers = stack_module_state(members)
        # In a list, so that it is no submodule: functional_call needs its structure only.
        self._skeleton = [members[0].requires_grad_(False)]
        self._hold(parameters, buffers)

    def _hold(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Make these stacked tensors (S, ...) the members' state."""
        self.stacked = _with_state(copy.deepcopy(self._skeleton[0]), parameters, buffers)
        # Walking the module tree at every step would cost as much as a step of one seed. The
        # parameters stay the same objects when they are moved or loaded.
        self._parameters_by_name = dict(self.stacked.named_parameters())
        self._key_names = [
            f"{name}.key"
            for name, child in self.stacked.named_modules()
            if isinstance(child, SeededDropout)
        ]
        self._has_buffers = bool(dict(self.stacked.named_buffers()))
        device = next(iter(parameters.values())).device
        seed_values = torch.tensor(self.seeds, device=device)
        self.register_buffer("seed_values", seed_values, persistent=False)
        # Equal chunks, as far as they can be: every size is compiled for itself.
        count = -(-len(seed_values) // _AT_A_TIME)
        bounds = [len(seed_values) * i // count for i in range(count + 1)]
        self._chunks = [slice(a, b) for a, b in pairwise(bounds)]
        self._functions: dict[str, Callable[..., Any]] = {
            "gradients": self._lone_gradients
            if len(self.seeds) == 1
            else vmap(grad_and_value(self._member_loss), in_dims=(0, 0, 0, 0)),
            "evaluation": vmap(self._member_evaluation, in_dims=(0, 0, 0, 0)),
            "logits": vmap(self._member_logits, in_dims=(0, 0, 0)),
        }

    def part(self, first: int, last: int) -> Ensemble:
        """Members ``first`` to ``last - 1`` as an ensemble that trains the same memory.

        It sees every change of these members' parameters and makes them itself; moving either of
        the two to another device parts them.
        """
        part = Ensemble.__new__(Ensemble)
        nn.Module.__init__(part)
        part.seeds = self.seeds[first:last]
        part._skeleton = self._skeleton
        state = (
            {name: value.detach()[first:last] for name, value in named}
            for named in (self.stacked.named_parameters(), self.stacked.named_buffers())
        )
        part._hold(*state)
        part._functions = self._functions  # so that parts of one size are compiled once
        return part

    def compile(self) -> None:
        """Compile the gradient and evaluation functions, which takes 8 to 30 s at their first call.

        Where no compiler works (none installed, say), they stay as they are, with a warning.
        """
        # The compiler gains most from torch.func, of one member as well.
        gradients = vmap(grad_and_value(self._member_loss), in_dims=(0, 0, 0, 0))
        for name, function in (
            ("gradients", gradients),
            ("evaluation", self._functions["evaluation"]),
        ):
            self._functions[name] = compile_with_fallback(function)

    def compute_gradients(self, inputs: Tensor, targets: Tensor, step: int | Tensor) -> Tensor:
        """Set every parameter's ``.grad`` to its member's own gradient.

        Args:
            inputs: (S, B, ...), one batch per member.
            targets: (S, B).
            step: Number of the optimizer step; with a member's seed it decides its dropout masks.

        Returns:
            Each member's loss, (S,).
        """
        self._mode(training=True)
        parameters = self._parameters_by_name
        with torch.no_grad():  # vmap(grad) makes the gradients itself; autograd need not record
            buffers = self._buffers_at(step)
            parts = [
                self._functions["gradients"](
                    {name: value[members] for name, value in parameters.items()},
                    {name: value[members] for name, value in buffers.items()},
                    inputs[members],
                    targets[members],
                )
                for members in self._chunks
            ]
            for name, parameter in parameters.items():
                parameter.grad = _joined([gradients[name] for gradients, _ in parts])
        return _joined([losses for _, losses in parts])

    @torch.no_grad()
    def evaluate(
        self, inputs: Tensor, targets: Tensor, step: int | Tensor = 0
    ) -> tuple[Tensor, Tensor]:
        """Loss and correctness of every example, each (S, N), in evaluation mode."""
        self._mode(training=False)
        parameters = self._parameters_by_name
        return self._functions["evaluation"](
            parameters, self._buffers_at(step, -1), inputs, targets
        )

    @torch.no_grad()
    def forward(self, inputs: Tensor, step: int | Tensor = 0) -> Tensor:
        """Logits (S, N, classes) of inputs (S, N, ...), in evaluation mode."""
        self._mode(training=False)
        parameters = self._parameters_by_name
        return self._functions["logits"](parameters, self._buffers_at(step, -1), inputs)

    @torch.no_grad()
    def features(self, inputs: Tensor, step: int | Tensor = 0) -> Tensor:
        """What the heads see: features (S, N, E) of inputs (S, N, ...), in evaluation mode."""
        self._mode(training=False)
        parameters = dict(self.stacked.network.named_parameters())
        buffers = {
            name.removeprefix("network."): buffer
            for name, buffer in self._buffers_at(step, -1).items()
            if name.startswith("network.")
        }
        network = self._skeleton[0].network

        def member_features(state: dict[str, Tensor], member_inputs: Tensor) -> Tensor:
            return functional_call(network, state, (member_inputs,))

        return vmap(member_features)({**parameters, **buffers}, inputs)

    def member(self, index: int) -> NetworkWithHead:
        """One member as an ordinary, trainable module of its own.

        Raises:
            IndexError: There is no such member.
        """
        if not -len(self.seeds) <= index < len(self.seeds):
            raise IndexError(f"member {index} of {len(self.seeds)}; members count from 0")
        member = copy.deepcopy(self._skeleton[0])
        stacked = dict(self.stacked.named_parameters())
        with torch.no_grad():
            for name, parameter in member.named_parameters():
                parameter.copy_(stacked[name][index])
            stacked_buffers = dict(self.stacked.named_buffers())
            for name, buffer in member.named_buffers():
                buffer.copy_(stacked_buffers[name][index])
        for dropout in _dropouts(member):
            dropout.key = None
        device = self.seed_values.device
        return member.to(device).requires_grad_(True).train(self.training)

    def _lone_gradients(self, parameters, buffers, inputs, targets):
        """Gradients and loss of a single member, (1, ...) each: autograd's own are the quicker."""
        with torch.enable_grad():
            leaves = {name: value[0].requires_grad_() for name, value in parameters.items()}
            own = {name: value[0] for name, value in buffers.items()}
            loss = self._member_loss(leaves, own, inputs[0], targets[0])
            gradients = torch.autograd.grad(loss, [*leaves.values()], materialize_grads=True)
        named = zip(leaves, gradients, strict=True)
        return {name: gradient[None] for name, gradient in named}, loss.detach()[None]

    def _member_loss(self, parameters, buffers, inputs, targets):
        return functional_call(self._skeleton[0], (parameters, buffers), (inputs, targets))

    def _member_logits(self, parameters, buffers, inputs):
        return functional_call(self._skeleton[0], (parameters, buffers), (inputs,))

    def _member_evaluation(self, parameters, buffers, inputs, targets):
        logits = self._member_logits(parameters, buffers, inputs)
        return self._skeleton[0].score(logits, targets)

    def _mode(self, training: bool) -> None:
        if self._skeleton[0].training != training:
            self._skeleton[0].train(training)

    def _buffers_at(self, step: int | Tensor, stream: int = 1) -> dict[str, Tensor]:
        """The stacked buffers, with every dropout's key set for this step: (S,) each.

        ``stream`` sets the masks of training (1) apart from those of evaluation (-1).
        """
        if not self._has_buffers:
            return {}
        buffers = dict(self.stacked.named_buffers())
        names = self._key_names
        if names:
            base = hash32(hash32(self.seed_values * 2 + (stream > 0)) + step)  # (S,)
            layers = torch.arange(1, len(names) + 1, device=base.device)
            keys = hash32(base + hash32(layers).unsqueeze(-1))  # (layers, S)
            buffers.update(zip(names, keys.unbind(), strict=True))
        return buffers


def compile_with_fallback(function: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.compile(function)`` that falls back to ``function`` if its first call fails.

    Warns:
        UncompiledWarning: It does.
    """
    dynamo = torch._dynamo.config
    dynamo.recompile_limit = max(dynamo.recompile_limit, _COMPILED_SIZES)
    compiled = torch.compile(function, dynamic=False)
    chosen: Callable[..., Any] | None = None

    def call(*arguments: Any) -> Any:
        nonlocal chosen
        if chosen is not None:
            return chosen(*arguments)
        try:
            result = compiled(*arguments)
            chosen = compiled
        except Exception as error:  # compilers fail in many ways
            result = function(*arguments)  # an error of the function's own is raised again here
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error)
            warnings.warn(
                f"torch.compile failed, training goes on uncompiled: {reason}",
                UncompiledWarning,
                stacklevel=2,
            )
            chosen = function
        return result

    return call


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _build_seeded(build: Build, seed: int) -> NetworkWithHead:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _dropouts(module: nn.Module) -> Iterable[SeededDropout]:
    return (child for child in module.modules() if isinstance(child, SeededDropout))


def _with_state(
    module: NetworkWithHead, parameters: dict[str, Tensor], buffers: dict[str, Tensor]
) -> NetworkWithHead:
    """``module`` with its parameters and buffers replaced; tied parameters stay tied."""
    new = {id(old): nn.Parameter(parameters[name]) for name, old in module.named_parameters()}
    for child in module.modules():
        for name, old in child._parameters.items():
            if old is not None:
                child._parameters[name] = new[id(old)]
    for name, buffer in buffers.items():
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, buffer)
    return module
