"""Any timm network as a backbone: images -> ``Tokens``."""

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dino_plugin.backbones.attention_choice import AttentionChoice
from dino_plugin.backbones.creation import accepted, create, described, description_in, source_of_weights
from dino_plugin.backbones.initial_weights import draw_initial_weights
from dino_plugin.backbones.intermediate_tokens import IntermediateTokens
from dino_plugin.backbones.layer_distances import layers_to_output
from dino_plugin.backbones.position_rule import use_position_rule
from dino_plugin.backbones.pre_norm_blocks import embedded, has_plain_blocks, through_blocks
from dino_plugin.backbones.rotary_cache import cache_rotary_positions
from dino_plugin.backbones.token_hooks import can_drop_patches, dropped_patches, masked_patches, prefix_normalised_by
from dino_plugin.backbones.tokens import (
    UNUSED,
    averages_patches,
    channels_of,
    class_token_and_patches,
    flattened_and_padded,
    grid_of,
    patch_size_of,
    with_leading_of,
)
from dino_plugin.backbones.training_options import use_training_options
from dino_plugin.core.views import ClassTokenOnly, Tokens, ViewBatch
from dino_plugin.weights.checkpoint import backbone_state
from dino_plugin.weights.safe_loading import load_checkpoint
from dino_plugin.weights.strict_loading import load_backbone


class TimmBackbone(IntermediateTokens):
    """A timm network without its classifier.

    Vision transformers give their normalised class token and patch tokens; those that average their patches give timm's
    pooled vector as class token. Convolutional networks give their feature map as patches, and the pooled map as class
    token. Transformers take images of any size: images are padded to whole patches with zeros at the bottom and right.
    Zero is the mean colour after normalisation.

    ``patch_size`` is the number of rows and columns of pixels of one patch; None for convolutional networks.

    Args:
        model_name: A name from ``timm.list_models()``. None: name and arguments are those in ``checkpoint``;
            ``timm_arguments`` take precedence.
        pretrained: Start from timm's released weights (downloads them). A path is a ``checkpoint``, as in configs of
            OpenMMLab.
        checkpoint: Start from this file: a training checkpoint of this package, an exported backbone, or the authors'
            file. An address works, too: ``https://...`` or ``hf-hub:owner/name``, see `local_file`. The numbers of
            loaded, missing and unexpected keys are logged.
        checkpoint_source: Which network of a checkpoint with several: 'teacher', 'student', or the name of another, see
            `dino_plugin.weights.checkpoint.backbone_state`.
        allow_mismatch: Accept missing and unexpected keys of ``checkpoint``.
        gradient_checkpointing: True: the backward pass computes the activations of blocks again: much less memory,
            about a third more time. 'all but products': results of matrix products and attention are kept.
        subset_drop_path: DINOv2's stochastic depth, which skips the work for dropped samples: the share of the batch
            without a residual, in [0, 1), the same in all blocks. 0: timm's ``drop_path_rate`` decides.
        mask_token: Learn an embedding that replaces masked patches, before their position is added; recipes with masks
            need it. It starts at zero.
        drop_masked: Leave masked patches out, instead of a mask token: less work, and nothing of them to see. They are
            zero in the output. For plain vision transformers with added positions; all masks hide equally many patches.
        local_norm: Normalise class token and registers of local views by a separate layer (DINOv3's largest network).
            It starts as a copy of the last normalisation and is not exported.
        compile_blocks: ``torch.compile`` the blocks (or a network without ``blocks``) at first use. A string is the
            mode, such as 'max-autotune-no-cudagraphs'. In training, timm's plain blocks share one graph.
        pack_views: Send global and local views through timm's plain blocks together: half as many operations, the same
            result. Networks with other blocks take the two sizes separately.
        position_resampling: Rule for resampling learnt positions to other image sizes: 'timm', 'dino' or 'huggingface',
            see `dino_plugin.weights.positions`. None: the rule of the file if it is known, else timm's.
        token_std: Draw initial weights as the authors of DINO do, with this standard deviation of class token and
            registers: 0.02 in DINO, iBOT and DINOv3, 1e-6 in DINOv2. None: timm's initial weights. Weights of
            ``pretrained`` and ``checkpoint`` replace both.
        lora: Freeze timm's network and train low-rank adapters in it: the arguments of
            `dino_plugin.backbones.low_rank.add_low_rank`, such as ``dict(r=8, lora_alpha=16)``. Views are then not
            packed.
        float8: Products of the blocks in float8, on GPUs that have it: True, or a recipe of torchao, see
            `dino_plugin.backbones.eight_bits.use_float8`. Views are then not packed.
        **timm_arguments: For ``timm.create_model``: ``drop_path_rate``, ``img_size``, ``patch_size``, ``in_chans``…

    Raises:
        TypeError: If ``pretrained`` is neither True, False nor a path.
        ValueError: If timm does not know the name or an argument, nothing names the network, both sources of weights or
            both kinds of stochastic depth are given, the checkpoint does not fit, or the network lacks what an option
            needs: blocks for ``subset_drop_path``, patches for ``mask_token``, plain blocks for ``drop_masked``, a
            normalised class token for ``local_norm``, a class token for ``token_std``.
    """

    def __init__(
        self,
        model_name: str | None = None,
        pretrained: bool | str | None = False,
        checkpoint: str | None = None,
        checkpoint_source: str = 'teacher',
        allow_mismatch: bool = False,
        gradient_checkpointing: bool | str = False,
        subset_drop_path: float = 0.0,
        mask_token: bool = False,
        drop_masked: bool = False,
        local_norm: bool = False,
        compile_blocks: bool | str = False,
        pack_views: bool = True,
        position_resampling: str | None = None,
        token_std: float | None = None,
        lora: dict | None = None,
        float8: bool | str = False,
        **timm_arguments,
    ) -> None:
        super().__init__()
        timm_arguments = accepted(timm_arguments)
        pretrained, checkpoint = source_of_weights(pretrained, checkpoint)
        content = load_checkpoint(checkpoint) if checkpoint else None
        in_file = None if content is None else description_in(content, checkpoint, checkpoint_source, model_name)
        if model_name is None:
            model_name, timm_arguments = described(in_file, checkpoint, timm_arguments)
        self.model = create(model_name, pretrained, timm_arguments)
        if token_std is not None and not pretrained:
            draw_initial_weights(self.model, token_std)
        self.position_resampling: str = position_resampling or (in_file or {}).get('position_resampling', 'timm')
        use_position_rule(self.model, self.position_resampling)
        self.description = {'model_name': model_name, 'timm_arguments': dict(timm_arguments)}
        if self.position_resampling != 'timm':
            self.description['position_resampling'] = self.position_resampling
        self.embed_dim: int = self.model.num_features
        self.in_channels: int = channels_of(self.model)
        self.patch_size: tuple[int, int] | None = patch_size_of(self.model)
        if content is not None:
            state = backbone_state(content, checkpoint_source)
            load_backbone(self.model, state, allow_mismatch, str(checkpoint), in_file, self.position_resampling)
        self._add_parameters(mask_token, local_norm)
        use_training_options(self.model, lora, subset_drop_path, gradient_checkpointing, compile_blocks, float8)
        cache_rotary_positions(self.model)
        self.attention_choice = AttentionChoice(self.model)
        self._compile_mode = compile_blocks
        self._plain_blocks = has_plain_blocks(self.model) and not averages_patches(self.model)
        self._drops = drop_masked and can_drop_patches(self.model, self._plain_blocks)
        self._packs = pack_views and self._plain_blocks and not drop_masked

    def forward(
        self,
        images: Float[Tensor, '*leading channels rows columns'],
        masks: Bool[Tensor, '*leading patch_rows patch_columns'] | None = None,
        local: bool = False,
        patches: bool = True,
    ) -> Tokens:
        """Tokens of images with any leading axes.

        Args:
            images: Normalised.
            masks: True for masked patches, which the network does not see. A convolutional stem reaches over the edges
                of a patch, so with one, neighbouring patches still see some of its pixels.
            local: Whether these are local views, for ``local_norm``.
            patches: Whether patch tokens are needed. If not, timm's plain transformers compute the last block for the
                class token only.

        Raises:
            ValueError: If the number of channels is not the network's, there are masks but no mask token, or the masks
                have another grid or number.
        """
        dropping = self._drops and masks is not None
        if self._plain_blocks and (self._compile_mode or not patches) and not dropping:
            return self._through_blocks([(images, masks, local)], [patches])[0]
        prepared = self._prepared(images, masks)
        with self._masked(masks), self._using_local_norm(local):
            features = class_token_and_patches(self.model, prepared, grid_of(images, self.patch_size))
        return Tokens(*(with_leading_of(images, tokens) for tokens in features))

    def forward_together(
        self, views: ViewBatch, global_patches: bool = True, local_patches: bool = True
    ) -> tuple[Tokens, Tokens]:
        """What ``forward`` gives for the global views, with their masks, and for the local views.

        Args:
            views: With local views.
            global_patches: Whether patch tokens of the global views are needed.
            local_patches: The same for the local views.
        """
        sizes = [(views.global_views, views.masks, False), (views.local_views, None, True)]
        wanted = [global_patches, local_patches]
        if self._packs:
            return self._through_blocks(sizes, wanted)
        return tuple(self(*view, patches) for view, patches in zip(sizes, wanted))

    def layers_to_output(self) -> dict[str, int]:
        """Distance of each parameter from the output, see `layer_distances.layers_to_output`; a mask token embeds."""
        distances = layers_to_output(self.model)
        local_norm = {f'local_{name}': 0 for name in distances if name.startswith('norm.')}
        outside = {'mask_token': max(distances.values()), **local_norm}
        return outside | {f'model.{name}': distance for name, distance in distances.items()}

    def _add_parameters(self, mask_token: bool, local_norm: bool) -> None:
        """Parameters outside timm's network, which are not exported."""
        name = self.description['model_name']
        if mask_token and self.patch_size is None:
            raise ValueError(f'TimmBackbone: {name} has no patches that a mask token could replace.')
        unnormalised = isinstance(getattr(self.model, 'norm', None), UNUSED)
        if local_norm and (unnormalised or not getattr(self.model, 'num_prefix_tokens', 0)):
            raise ValueError(f'TimmBackbone: {name} has no normalised class token, which local_norm needs.')
        self.mask_token = nn.Parameter(torch.zeros(1, self.embed_dim)) if mask_token else None
        self.local_norm = copy.deepcopy(self.model.norm) if local_norm else None

    def _prepared(self, images: Tensor, masks: Tensor | None = None) -> Tensor:
        if masks is not None and self.mask_token is None and not self._drops:
            raise ValueError('TimmBackbone: the views have masks; build it with mask_token=True.')
        self.attention_choice.choose_for(images)
        return flattened_and_padded(images, masks, self.in_channels, self.patch_size)

    def _masked(self, masks: Tensor | None) -> AbstractContextManager:
        if masks is not None and self._drops:
            return dropped_patches(self.model, masks)
        return nullcontext() if masks is None else masked_patches(self.model.patch_embed, self.mask_token, masks)

    def _using_local_norm(self, local: bool) -> AbstractContextManager:
        if not local or self.local_norm is None:
            return nullcontext()
        return prefix_normalised_by(self.local_norm, self.model.norm, self.model.num_prefix_tokens)

    def _through_blocks(self, views: Sequence[tuple], patches: Sequence[bool]) -> tuple[Tokens, ...]:
        """``forward`` for several sizes of views, each with its images, masks and ``local``."""
        entering = []
        for images, masks, _ in views:
            prepared = self._prepared(images, masks)
            with self._masked(masks):
                entering.append(embedded(self.model, prepared))
        leaving = through_blocks(self.model, entering, patches, self._compile_mode)
        return tuple(
            self._normalised(images, local, tokens, wanted)
            for (images, _, local), tokens, wanted in zip(views, leaving, patches)
        )

    def _normalised(self, images: Tensor, local: bool, tokens: Tensor, patches: bool) -> Tokens:
        with self._using_local_norm(local):
            tokens = self.model.norm(tokens)
        class_token = with_leading_of(images, tokens[:, 0])
        if not patches:
            return ClassTokenOnly(class_token, None)
        patch_tokens = tokens[:, self.model.num_prefix_tokens :].unflatten(1, grid_of(images, self.patch_size))
        return Tokens(class_token, with_leading_of(images, patch_tokens))
