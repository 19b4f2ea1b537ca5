"""Child registries of mmengine's roots: ``type='dino_plugin.X'`` resolves from any scope, without an import.

mmengine imports this module by its name and hides an ImportError inside it, so it holds nothing else. ``locations``
fills the registries at first use.
"""

from mmengine import registry as root
from mmengine.registry import Registry

SCOPE = 'dino_plugin'
LOCATIONS = ['dino_plugin.engine.vocabulary']


def _child(parent: Registry) -> Registry:
    return Registry(parent.name, parent=parent, scope=SCOPE, locations=LOCATIONS)


# mmengine looks for every kind of registry in the default scope and warns if one is missing. So there is one for each
# kind, also for kinds that are not extended here.
MODELS = _child(root.MODELS)
DATASETS = _child(root.DATASETS)
TRANSFORMS = _child(root.TRANSFORMS)
DATA_SAMPLERS = _child(root.DATA_SAMPLERS)
FUNCTIONS = _child(root.FUNCTIONS)
HOOKS = _child(root.HOOKS)
LOOPS = _child(root.LOOPS)
METRICS = _child(root.METRICS)
OPTIM_WRAPPERS = _child(root.OPTIM_WRAPPERS)
OPTIM_WRAPPER_CONSTRUCTORS = _child(root.OPTIM_WRAPPER_CONSTRUCTORS)
OPTIMIZERS = _child(root.OPTIMIZERS)
PARAM_SCHEDULERS = _child(root.PARAM_SCHEDULERS)
TASK_UTILS = _child(root.TASK_UTILS)
EVALUATOR = _child(root.EVALUATOR)
RUNNERS = _child(root.RUNNERS)
MODEL_WRAPPERS = _child(root.MODEL_WRAPPERS)
VISUALIZERS = _child(root.VISUALIZERS)
VISBACKENDS = _child(root.VISBACKENDS)
LOG_PROCESSORS = _child(root.LOG_PROCESSORS)
