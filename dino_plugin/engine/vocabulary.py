"""Every name that a config may use, on one screen. Registries are filled here and nowhere else.

In a config each name carries the prefix ``dino_plugin.``; mmengine then finds this module by itself.
"""

from mmengine.registry import Registry

from dino_plugin import registry
from dino_plugin.backbones.feature_map_backbone import FeatureMapBackbone
from dino_plugin.backbones.feature_maps import BatchNormMaps, TimmFeatureMaps
from dino_plugin.backbones.feature_vector import TimmFeatureVector
from dino_plugin.backbones.joined_maps import TimmJoinedMaps
from dino_plugin.backbones.timm_backbone import TimmBackbone
from dino_plugin.core.heads import DINOHead, ProjectionHead
from dino_plugin.core.losses.alignment import AlignmentLoss, PatchAlignmentLoss, ViewMeanLoss
from dino_plugin.core.losses.cluster_prediction import ClusteringLoss, ClusterPredictionLoss
from dino_plugin.core.losses.coding_rate import CodingRateLoss
from dino_plugin.core.losses.dino import DINOLoss
from dino_plugin.core.losses.feature_regression import FeatureRegressionLoss
from dino_plugin.core.losses.gram import GramLoss
from dino_plugin.core.losses.ibot import IBOTPatchLoss
from dino_plugin.core.losses.kernel_alignment import KernelAlignmentLoss
from dino_plugin.core.losses.koleo import KoLeoLoss
from dino_plugin.core.losses.sigreg import SIGRegLoss
from dino_plugin.core.positionwise_targets import PositionwiseSinkhornKnopp
from dino_plugin.core.prediction import ClusterHead, PatchPredictor
from dino_plugin.core.schedules import Constant, Cosine, Linear, Switch, Warmup
from dino_plugin.core.targets import Centering, SinkhornKnopp
from dino_plugin.data.collate import image_collate, masked_collate, multi_crop_collate, multi_view_collate
from dino_plugin.data.images.channel_loading import LoadChannels
from dino_plugin.data.images.image_dataset import ImageDataset
from dino_plugin.data.images.mixed_sampler import MixedBatchSampler
from dino_plugin.data.images.multi_pipeline_dataset import MultiPipelineDataset
from dino_plugin.data.images.sampler import ResumableSampler
from dino_plugin.data.images.seeded_dataset import SeededDataset
from dino_plugin.data.lightly.adapters import LightlyDataset
from dino_plugin.data.mmcv_transforms import (
    CheckFiles,
    LoadImage,
    MultiCropTransform,
    PackImage,
    PackViews,
    RandomResizedCrop,
    ResizeCentreCrop,
)
from dino_plugin.data.preprocessor import ViewPreprocessor
from dino_plugin.data.sources.hugging_face import HuggingFaceDataset
from dino_plugin.data.sources.shard_dataset import ShardDataset
from dino_plugin.data.sources.shard_sampler import ShardSampler
from dino_plugin.data.sources.source_sampler import SourceSampler
from dino_plugin.engine.distributed.fully_shard import FullyShard
from dino_plugin.engine.downstream.describe_backbone import DescribeBackboneHook
from dino_plugin.engine.downstream.detector_for_classes import detector_for_classes
from dino_plugin.engine.downstream.width_from_backbone import width_from_backbone
from dino_plugin.engine.evaluating.attention_extractor import AttentionExtractor
from dino_plugin.engine.evaluating.bank_loop import BankTestLoop
from dino_plugin.engine.evaluating.class_names_hook import ClassNamesHook
from dino_plugin.engine.evaluating.clip_classifier import ClipClassifier
from dino_plugin.engine.evaluating.clip_loop import ClipTestLoop
from dino_plugin.engine.evaluating.clip_pictures import ClipPicturesHook
from dino_plugin.engine.evaluating.clip_segmenter import ClipSegmenter
from dino_plugin.engine.evaluating.descriptor_extractor import DescriptorExtractor
from dino_plugin.engine.evaluating.feature_extractor import FeatureExtractor
from dino_plugin.engine.evaluating.keep_tokens import KeepTokensHook
from dino_plugin.engine.evaluating.linear_grid import LinearGrid
from dino_plugin.engine.evaluating.linear_grid_loop import LinearGridTestLoop
from dino_plugin.engine.evaluating.object_finder import ObjectFinder
from dino_plugin.engine.evaluating.object_loop import ObjectTestLoop
from dino_plugin.engine.evaluating.patch_extractor import PatchExtractor
from dino_plugin.engine.evaluating.patch_loop import PatchTestLoop
from dino_plugin.engine.evaluating.probe_groups import ProbeGroups
from dino_plugin.engine.training.for_images import momentum_for_images, prototypes_for_images, value_for_images
from dino_plugin.engine.training.hooks.capture import CaptureHook
from dino_plugin.engine.training.hooks.checkpoint import CheckpointHook
from dino_plugin.engine.training.hooks.collapse_monitor import CollapseMonitorHook
from dino_plugin.engine.training.hooks.ema_teacher import EMATeacherHook
from dino_plugin.engine.training.hooks.guard import GuardHook
from dino_plugin.engine.training.hooks.knn import KNNHook
from dino_plugin.engine.training.hooks.online_evaluation import OnlineEvaluationHook
from dino_plugin.engine.training.hooks.pictures import PicturesHook
from dino_plugin.engine.training.hooks.skipped_steps import SkippedStepsHook
from dino_plugin.engine.training.hooks.throughput import ThroughputHook
from dino_plugin.engine.training.lightly_losses import LightlyPairLoss, LightlySwAVLoss
from dino_plugin.engine.training.loops import ResumableEpochLoop, ResumableIterLoop
from dino_plugin.engine.training.model import SelfDistillationModel
from dino_plugin.engine.training.optim_wrapper import SelfDistillationOptimWrapper
from dino_plugin.engine.training.parameter_groups import ParameterGroups
from dino_plugin.engine.training.progress_scheduler import ProgressScheduler
from dino_plugin.evaluation.attention.metric import AttentionJaccardMetric, HeadMetric
from dino_plugin.evaluation.classification.grid_metric import LinearGridMetric
from dino_plugin.evaluation.classification.held_out_split import held_out_split
from dino_plugin.evaluation.classification.metric import KNNMetric
from dino_plugin.evaluation.classification.other_labels import ImagesOfClasses, NumberedImages
from dino_plugin.evaluation.classification.probes import FewShotMetric, LinearProbeMetric, LogisticProbeMetric
from dino_plugin.evaluation.clips.dataset import ClipDataset
from dino_plugin.evaluation.clips.direction import DirectionOfTime
from dino_plugin.evaluation.clips.metric import ClipMetric
from dino_plugin.evaluation.clips.pipeline_steps import CropClips, PackClips, RandomCropClips, ReadClips
from dino_plugin.evaluation.depth.bins import DepthFromBins, MapsWithoutReadout
from dino_plugin.evaluation.depth.data import DepthDataset
from dino_plugin.evaluation.depth.losses import LogGradientLoss, ScaleInvariantLoss
from dino_plugin.evaluation.depth.metric import DepthMetric
from dino_plugin.evaluation.depth.pipeline_steps import KeepWindow, LoadDepth
from dino_plugin.evaluation.depth.range_hook import DepthRangeHook
from dino_plugin.evaluation.detection.late import box_bias_detr, box_dataset, box_metric
from dino_plugin.evaluation.discovery.metric import DiscoveryMetric
from dino_plugin.evaluation.objects.images import ObjectDataset
from dino_plugin.evaluation.retrieval.copies_dataset import AttackedImages, CopydaysCopies, OriginalImages
from dino_plugin.evaluation.retrieval.landmark_dataset import LandmarkBank, LandmarkQueries
from dino_plugin.evaluation.retrieval.metric import ClassRetrievalMetric, CopyMetric, LandmarkMetric
from dino_plugin.evaluation.retrieval.pipeline_steps import AttackImage, CutToBox, ResizeWhole
from dino_plugin.evaluation.segmentation.checked_segmentation import checked_segmentation
from dino_plugin.evaluation.segmentation.patch_metric import PatchKNNMetric, PatchLogisticMetric
from dino_plugin.evaluation.text.caption_batches import CaptionPreprocessor, PackCaptions, caption_collate
from dino_plugin.evaluation.text.captions import CaptionDataset
from dino_plugin.evaluation.text.model import ImageTextModel
from dino_plugin.evaluation.text.retrieval import ImageTextRetrievalMetric
from dino_plugin.evaluation.text.segmenter import TextSegmenter
from dino_plugin.evaluation.text.zero_shot import ZeroShotClassifier
from dino_plugin.evaluation.video.davis_dataset import DAVISDataset
from dino_plugin.evaluation.video.metric import DAVISMetric
from dino_plugin.evaluation.video.propagation import LabelPropagator

VOCABULARY: dict[Registry, list] = {
    registry.MODELS: [
        SelfDistillationModel, FeatureExtractor, DescriptorExtractor, AttentionExtractor, ClipSegmenter,
        PatchExtractor, ObjectFinder, LinearGrid, ClipClassifier,
        ViewPreprocessor, TimmBackbone, FeatureMapBackbone, TimmFeatureMaps, TimmJoinedMaps, TimmFeatureVector,
        BatchNormMaps,
        (width_from_backbone, 'WidthFromBackbone'), (detector_for_classes, 'DetectorForClasses'),
        (box_bias_detr, 'BoxBiasDETR'),
        DINOHead, DINOLoss, IBOTPatchLoss, KoLeoLoss, GramLoss, AlignmentLoss, PatchAlignmentLoss, CodingRateLoss,
        ViewMeanLoss, SIGRegLoss, KernelAlignmentLoss, ProjectionHead, FeatureRegressionLoss,
        ClusteringLoss, ClusterPredictionLoss, ClusterHead, PatchPredictor,
        LightlyPairLoss, LightlySwAVLoss, DepthFromBins, MapsWithoutReadout, ScaleInvariantLoss, LogGradientLoss,
        ImageTextModel, ZeroShotClassifier, TextSegmenter, CaptionPreprocessor,
    ],
    registry.TASK_UTILS: [
        Constant, Linear, Cosine, Warmup, Switch, Centering, SinkhornKnopp, PositionwiseSinkhornKnopp, LabelPropagator,
        prototypes_for_images, momentum_for_images, value_for_images,
    ],
    registry.DATASETS: [
        ImageDataset, ShardDataset, HuggingFaceDataset, SeededDataset, MultiPipelineDataset, LightlyDataset,
        DAVISDataset, ObjectDataset, DepthDataset, CaptionDataset, (checked_segmentation, 'CheckedSegmentation'),
        (held_out_split, 'HeldOutSplit'), (box_dataset, 'BoxDataset'),
        ImagesOfClasses, NumberedImages, ClipDataset, DirectionOfTime,
        OriginalImages, AttackedImages, CopydaysCopies, LandmarkBank, LandmarkQueries,
    ],
    registry.DATA_SAMPLERS: [ResumableSampler, MixedBatchSampler, ShardSampler, SourceSampler],
    registry.TRANSFORMS: [
        CheckFiles, LoadImage, LoadChannels, (MultiCropTransform, 'MultiCrop'), PackViews, ResizeCentreCrop, PackImage,
        RandomResizedCrop, ResizeWhole, CutToBox, AttackImage, LoadDepth, KeepWindow,
        ReadClips, CropClips, RandomCropClips, PackClips,
        PackCaptions,
    ],
    registry.FUNCTIONS: [multi_crop_collate, masked_collate, multi_view_collate, image_collate, caption_collate],
    registry.HOOKS: [
        EMATeacherHook, SkippedStepsHook, CollapseMonitorHook, KNNHook, OnlineEvaluationHook, GuardHook, PicturesHook,
        ThroughputHook, CheckpointHook, DescribeBackboneHook, CaptureHook, KeepTokensHook, ClipPicturesHook,
        ClassNamesHook, DepthRangeHook,
    ],
    registry.LOOPS: [
        ResumableEpochLoop, ResumableIterLoop, BankTestLoop, ClipTestLoop, ObjectTestLoop, PatchTestLoop,
        LinearGridTestLoop,
    ],
    registry.METRICS: [
        KNNMetric, LinearProbeMetric, LogisticProbeMetric, FewShotMetric, ClassRetrievalMetric, CopyMetric, DAVISMetric,
        LandmarkMetric, AttentionJaccardMetric, HeadMetric, PatchKNNMetric, PatchLogisticMetric, DiscoveryMetric,
        LinearGridMetric, DepthMetric, ClipMetric, ImageTextRetrievalMetric, (box_metric, 'BoxMetric'),
    ],
    registry.MODEL_WRAPPERS: [FullyShard],
    registry.OPTIM_WRAPPERS: [SelfDistillationOptimWrapper],
    registry.OPTIM_WRAPPER_CONSTRUCTORS: [ParameterGroups, ProbeGroups],
    registry.PARAM_SCHEDULERS: [ProgressScheduler],
}  # fmt: skip

for _registry, _entries in VOCABULARY.items():
    for _entry in _entries:
        _module, _name = _entry if isinstance(_entry, tuple) else (_entry, _entry.__name__)
        _registry.register_module(name=_name, module=_module)
