"""Names with the prefix work from any scope of OpenMMLab, without an import; nothing is taken from other packages."""

import pytest
from fresh_process import run_in_fresh_process

HEAD = "dict(type='dino_plugin.DINOHead', in_dim=4, prototypes=3, hidden_dim=5, bottleneck_dim=2)"


@pytest.mark.parametrize('scope', ['mmengine', 'mmseg'])
def test_names_resolve_from_a_foreign_scope_without_an_import(scope):
    if scope == 'mmseg':
        try:
            run_in_fresh_process('import mmseg.models')
        except Exception as error:
            pytest.skip(f'mmseg.models cannot be imported alone: {error}')
    run_in_fresh_process(f"""
        import sys
        from mmengine.registry import FUNCTIONS, HOOKS, init_default_scope
        from {scope}.registry import MODELS
        init_default_scope('{scope}')
        assert not any(name.startswith('dino_plugin') for name in sys.modules)
        head = MODELS.build({HEAD})
        assert type(head).__module__ == 'dino_plugin.core.heads'
        assert FUNCTIONS.get('dino_plugin.multi_crop_collate').__module__ == 'dino_plugin.data.collate'
        assert HOOKS.build(dict(type='dino_plugin.EMATeacherHook'))
    """)


def test_custom_imports_of_habit_work_too():
    run_in_fresh_process(f"""
        from mmengine.config import Config
        from mmengine.registry import MODELS
        Config.fromstring("custom_imports = dict(imports=['dino_plugin'], allow_failed_imports=False)", '.py')
        MODELS.build({HEAD})
    """)


def test_nothing_is_registered_in_the_root():
    """mmdet owns `DINO` and `DINOHead`, mmpretrain's project the same and `DINONeck`."""
    run_in_fresh_process("""
        from mmengine import registry as root
        names = ('MODELS', 'DATASETS', 'TRANSFORMS', 'HOOKS', 'LOOPS', 'METRICS', 'FUNCTIONS', 'TASK_UTILS')
        before = {name: set(getattr(root, name).module_dict) for name in names}
        import dino_plugin.engine.vocabulary
        for name in names:
            entries = getattr(root, name).module_dict
            new = [entries[key] for key in set(entries) - before[name]]
            assert not [entry for entry in new if entry.__module__.startswith('dino_plugin')], name
    """)
