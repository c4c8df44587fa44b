"""Many independent seeds of one ordinary module, trained side by side as one computation."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from lightning_modules.ensemble.member import NetworkWithHead
from lightning_modules.heads.base import LossHead
from lightning_modules.networks.seeded_dropout import SeededDropout, hash32

Member = TypeVar("Member", bound=nn.Module)
Tensors = dict[str, Tensor]

# Members of one computation. Sixty at once take longer than three times twenty: the tensors of a
# step no longer fit into a core's cache (docs/performance.md).
_AT_A_TIME = 24
# Dynamo compiles a function for this many shapes (8 by default) and runs further ones uncompiled.
_COMPILED_SIZES = 64
_DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)


class UncompiledWarning(UserWarning):
    """``torch.compile`` failed; the function runs uncompiled, several times slower."""


class Ensemble(nn.Module, Generic[Member]):
    """S members of one architecture with stacked parameters, one seed each.

    A member is an ordinary module, written without the ensemble in mind: called with (inputs,
    targets) it returns its training loss, with inputs alone its outputs. The members' parameters
    are stacked to (S, ...), and ``torch.func.vmap`` runs all members at once: at 5,000 parameters,
    Python and kernel launches dominate, so twenty networks cost about as much as one. Losses are
    per member and elementwise optimizers (Adam, AdamW, SGD) keep members independent, so member s
    trains as a run of seed s alone would.

    Args:
        build: Returns a freshly initialized member. Called once per seed, with torch's global
            generator seeded to it. Or one such function per member; their modules may differ in the
            values of their buffers.
        seeds: One seed per member; members with equal seeds start equal.

    Attributes:
        stacked: The member's module tree with every parameter (S, ...): checkpoint keys are the
            member's own under ``stacked.``.

    Raises:
        ValueError: No seed, or a member with ``nn.Dropout``, whose masks come from one generator
            for all members (use ``SeededDropout``).
    """

    seed_values: Tensor

    def __init__(
        self,
        build: Callable[[], Member] | Sequence[Callable[[], Member]],
        seeds: Sequence[int],
    ) -> None:
        super().__init__()
        if not seeds:
            raise ValueError("seeds are empty; give at least one")
        self.seeds = [int(seed) for seed in seeds]
        builds = [build] * len(self.seeds) if callable(build) else build
        members = [_build_seeded(one, seed) for one, seed in zip(builds, self.seeds, strict=True)]
        for name, child in members[0].named_modules():
            if isinstance(child, _DROPOUTS) and child.p > 0:
                raise ValueError(
                    f"{name} is an nn.{type(child).__name__}, which cannot draw a mask per seed; "
                    f"use lightning_modules.SeededDropout({child.p})"
                )
        # A fused loss is one operator that torch.func cannot differentiate.
        self._fused = [head.fused for head in _children(members[0], LossHead)]
        for member in members:
            for head in _children(member, LossHead):
                head.fused = False
            for dropout in _children(member, SeededDropout):
                dropout.key = torch.zeros((), dtype=torch.int64)
        parameters, buffers = stack_module_state(members)
        # In a list, so that it is not a submodule: functional_call needs its structure only.
        self._base_module = [members[0].requires_grad_(False)]
        self._compiled: dict[str, Callable[..., Any]] = {}
        self._is_lone = len(self.seeds) == 1
        self._set_state(parameters, buffers)

    def _set_state(self, parameters: Tensors, buffers: Tensors) -> None:
        """Use these stacked tensors (S, ...) as the members' state."""
        self.stacked = _with_state(copy.deepcopy(self._base_module[0]), parameters, buffers)
        # Walking the module tree at every step would cost as much as a step of one seed. The
        # parameters stay the same objects when they are moved or loaded.
        self._parameters_by_name: Tensors = dict(self.stacked.named_parameters())
        self._key_names = [
            f"{name}.key"
            for name, child in self.stacked.named_modules()
            if isinstance(child, SeededDropout)
        ]
        self._has_buffers = bool(dict(self.stacked.named_buffers()))
        device = next(iter(parameters.values())).device
        seed_values = torch.tensor(self.seeds, device=device)
        self.register_buffer("seed_values", seed_values, persistent=False)
        # Chunks of about equal size: each size is compiled separately.
        count = -(-len(seed_values) // _AT_A_TIME)
        bounds = [len(seed_values) * i // count for i in range(count + 1)]
        self._chunks = [slice(a, b) for a, b in pairwise(bounds)]

    def __getstate__(self) -> dict[str, Any]:
        # Functions are bound to this ensemble's base module; a copy starts uncompiled.
        return {**self.__dict__, "_compiled": {}}

    def slice(self, first: int, last: int) -> Ensemble[Member]:
        """Members ``first`` to ``last - 1`` as an ensemble on the same memory.

        Training either of the two changes the other. They separate when one of them is moved to
        another device.
        """
        part = Ensemble.__new__(Ensemble)
        nn.Module.__init__(part)
        part.seeds = self.seeds[first:last]
        part._base_module, part._fused = self._base_module, self._fused
        # So that slices of one size are compiled once, and compute the same bits as the whole.
        part._compiled, part._is_lone = self._compiled, self._is_lone
        parameters, buffers = (
            {name: value.detach()[first:last] for name, value in named}
            for named in (self.stacked.named_parameters(), self.stacked.named_buffers())
        )
        part._set_state(parameters, buffers)
        return part

    def compile(self) -> None:
        """Compile the gradient and evaluation functions, which takes 8 to 30 s at the first call.

        If the compiler fails, they run uncompiled, with a warning.
        """
        # One member is vmapped too: compiled, that is faster than autograd.
        gradients = vmap(grad_and_value(self._member_loss))
        self._compiled["gradients"] = compile_with_fallback(gradients)
        self._compiled["evaluation"] = compile_with_fallback(vmap(self._member_evaluation))

    def compute_gradients(self, inputs: Tensor, targets: Tensor, step: int | Tensor) -> Tensor:
        """Compute each member's gradients and store them in ``.grad``.

        Args:
            inputs: (S, B, ...), one batch per member.
            targets: (S, B).
            step: Number of the optimizer step; it determines the dropout masks, with the seed.

        Returns:
            Each member's loss, (S,).
        """
        self._set_mode(training=True)
        parameters, function = self._parameters_by_name, self._compiled.get("gradients")
        if function is None:
            vmapped = vmap(grad_and_value(self._member_loss))
            function = self._lone_gradients if self._is_lone else vmapped
        with torch.no_grad():  # vmap(grad) computes the gradients; autograd need not record
            buffers = self._buffers_at(step)
            parts = [
                function(
                    {name: value[members] for name, value in parameters.items()},
                    {name: value[members] for name, value in buffers.items()},
                    inputs[members],
                    targets[members],
                )
                for members in self._chunks
            ]
            for name, parameter in parameters.items():
                parameter.grad = _concatenate([gradients[name] for gradients, _ in parts])
        return _concatenate([losses for _, losses in parts])

    @torch.no_grad()
    def evaluate(
        self, inputs: Tensor, targets: Tensor, step: int | Tensor = 0
    ) -> tuple[Tensor, Tensor]:
        """Loss and correctness of every example, each (S, N), in evaluation mode."""
        self._set_mode(training=False)
        function = self._compiled.get("evaluation") or vmap(self._member_evaluation)
        return function(self._parameters_by_name, self._buffers_at(step, -1), inputs, targets)

    @torch.no_grad()
    def forward(self, inputs: Tensor, step: int | Tensor = 0) -> Tensor:
        """Outputs (S, N, ...), such as logits, of inputs (S, N, ...), in evaluation mode."""
        self._set_mode(training=False)
        outputs = vmap(self._member_outputs)
        return outputs(self._parameters_by_name, self._buffers_at(step, -1), inputs)

    @torch.no_grad()
    def features(self, inputs: Tensor, step: int | Tensor = 0) -> Tensor:
        """The heads' input features (S, N, E) of inputs (S, N, ...), in evaluation mode."""
        self._set_mode(training=False)
        network = cast(NetworkWithHead, self._base_module[0]).network
        state = {
            name.removeprefix("network."): value
            for name, value in (self._parameters_by_name | self._buffers_at(step, -1)).items()
            if name.startswith("network.")
        }

        def member_features(state: Tensors, member_inputs: Tensor) -> Tensor:
            return functional_call(network, state, (member_inputs,))

        return vmap(member_features)(state, inputs)

    def member(self, index: int) -> Member:
        """One member as an ordinary, trainable module of its own."""
        if not -len(self.seeds) <= index < len(self.seeds):
            raise IndexError(f"member {index} of {len(self.seeds)}; members count from 0")
        member = copy.deepcopy(self._base_module[0])
        stacked = {**self._parameters_by_name, **dict(self.stacked.named_buffers())}
        with torch.no_grad():
            for name, value in (*member.named_parameters(), *member.named_buffers()):
                value.copy_(stacked[name][index])
        for dropout in _children(member, SeededDropout):
            dropout.key = None
        for head, fused in zip(_children(member, LossHead), self._fused, strict=True):
            head.fused = fused
        device = self.seed_values.device
        return member.to(device).requires_grad_(True).train(self.training)

    def _lone_gradients(
        self, parameters: Tensors, buffers: Tensors, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensors, Tensor]:
        """Gradients and loss of a single member, (1, ...) each, by autograd, which is faster."""
        with torch.enable_grad():
            leaves = {name: value[0].requires_grad_() for name, value in parameters.items()}
            own = {name: value[0] for name, value in buffers.items()}
            loss = self._member_loss(leaves, own, inputs[0], targets[0])
            gradients = torch.autograd.grad(loss, [*leaves.values()], materialize_grads=True)
        named = zip(leaves, gradients, strict=True)
        return {name: gradient[None] for name, gradient in named}, loss.detach()[None]

    def _member_loss(
        self, parameters: Tensors, buffers: Tensors, inputs: Tensor, targets: Tensor
    ) -> Tensor:
        return functional_call(self._base_module[0], (parameters, buffers), (inputs, targets))

    def _member_outputs(self, parameters: Tensors, buffers: Tensors, inputs: Tensor) -> Tensor:
        return functional_call(self._base_module[0], (parameters, buffers), (inputs,))

    def _member_evaluation(
        self, parameters: Tensors, buffers: Tensors, inputs: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        logits = self._member_outputs(parameters, buffers, inputs)
        return cast(NetworkWithHead, self._base_module[0]).score(logits, targets)

    def _set_mode(self, training: bool) -> None:
        if self._base_module[0].training != training:
            self._base_module[0].train(training)

    def _buffers_at(self, step: int | Tensor, stream: int = 1) -> Tensors:
        """The stacked buffers, with the key (S,) of every dropout layer set for this step.

        ``stream`` separates the masks of training (1) from those of evaluation (-1).
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
    """``torch.compile(function)``; if its first call fails, ``function`` with a warning."""
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
            result = function(*arguments)  # raises the function's own errors again
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error)
            warnings.warn(
                f"torch.compile failed, training continues uncompiled: {reason}",
                UncompiledWarning,
                stacklevel=2,
            )
            chosen = function
        return result

    return call


def _concatenate(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _build_seeded(build: Callable[[], Member], seed: int) -> Member:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build()


def _children(module: nn.Module, kind: type) -> list[Any]:
    return [child for child in module.modules() if isinstance(child, kind)]


def _with_state(module: Member, parameters: Tensors, buffers: Tensors) -> Member:
    """``module`` with its parameters and buffers replaced; tied parameters stay tied."""
    new = {id(old): nn.Parameter(parameters[name]) for name, old in module.named_parameters()}
    for child in module.modules():
        for name, old in list(child.named_parameters(recurse=False, remove_duplicate=False)):
            setattr(child, name, new[id(old)])
    for name, buffer in buffers.items():
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, buffer)
    return module
