"""What is in the wheel, what it asks for, and what an import says when mmengine or mmcv are not as they should be."""

import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_string
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import dino_plugin
from dino_plugin.openmmlab import providers


@pytest.fixture(scope='module')
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel built from a source archive built from the tree, as a release is; without network."""
    source = tmp_path_factory.mktemp('source') / 'dino_plugin'
    left_out = shutil.ignore_patterns(
        '.git', '.venv', '.mim', 'tests', 'work_dirs', 'data', '__pycache__', 'build', 'dist', '*.egg-info'
    )
    # The one folder called data that belongs to the package is copied by itself.
    shutil.copytree(repository, source, ignore=left_out)
    shutil.copytree(repository / 'dino_plugin/data', source / 'dino_plugin/data', dirs_exist_ok=True)
    for name in ('README.md', 'CHANGELOG.md'):
        (source / name).touch()
    built = source / 'dist'
    subprocess.run(
        [sys.executable, '-m', 'build', '--no-isolation', '--outdir', built, source],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, 'PIP_NO_INDEX': '1'},
    )
    (path,) = built.glob('*.whl')
    with zipfile.ZipFile(path) as archive:
        yield archive


def files_below(folder: Path) -> set[str]:
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob('*')
        if path.is_file() and '__pycache__' not in path.parts
    }


def test_the_wheel_holds_every_config_tool_and_the_model_index(wheel, repository):
    names = set(wheel.namelist())
    for folder in ('configs', 'tools'):
        expected = {f'dino_plugin/.mim/{folder}/{name}' for name in files_below(repository / folder)}
        assert expected <= names, sorted(expected - names)
    assert 'dino_plugin/.mim/model-index.yml' in names


def test_the_wheel_holds_every_module_and_nothing_else_of_the_checkout(wheel, repository):
    names = set(wheel.namelist())
    modules = {f'dino_plugin/{name}' for name in files_below(repository / 'dino_plugin') if name.endswith('.py')}
    modules = {name for name in modules if '/.mim/' not in name}
    assert modules <= names, sorted(modules - names)
    assert {name.split('/')[0] for name in names} == {'dino_plugin', f'dino_plugin-{dino_plugin.__version__}.dist-info'}
    assert not any(name.endswith('.pyc') for name in names)


def test_the_wheel_holds_what_the_page_of_a_run_is_made_of(wheel, repository):
    parts = {f'dino_plugin/report/template/{name}' for name in files_below(repository / 'dino_plugin/report/template')}
    assert len(parts) == 3
    assert parts <= set(wheel.namelist())


def test_the_wheel_holds_the_licence_and_says_so(wheel):
    info = f'dino_plugin-{dino_plugin.__version__}.dist-info'
    assert 'Apache License' in wheel.read(f'{info}/licenses/LICENSE').decode()
    metadata = message_from_string(wheel.read(f'{info}/METADATA').decode())
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Version'] == dino_plugin.__version__
    assert metadata['Requires-Python'] == '>=3.10'


def test_an_installed_copy_finds_its_configs(wheel, tmp_path):
    wheel.extractall(tmp_path / 'site')
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'dino_plugin::dino/dino_vit-small-p16_1xb64-coslr-100e_custom.py'\n"
        "train_dataloader = dict(dataset=dict(dataset=dict(data_root='somewhere')))\n"
    )
    script = (
        'import dino_plugin\n'
        'from dino_plugin import config_path\n'
        'from mmengine.config import Config\n'
        'from mmengine.hub import get_config\n'
        "assert 'site' in dino_plugin.__file__, dino_plugin.__file__\n"
        "name = 'dino/dino_vit-small-p16_8xb128-coslr-100e_in1k.py'\n"
        "print(Config.fromfile(config_path(name)).train_cfg.max_epochs, '.mim' in str(config_path(name)))\n"
        "print(get_config('dino_plugin::' + name).train_cfg.max_epochs)\n"
        "cfg = Config.fromfile('mine.py')\n"
        'print(cfg.train_dataloader.dataset.dataset.data_root, cfg.train_dataloader.batch_size)\n'
    )
    run = subprocess.run(
        [sys.executable, '-c', script],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(tmp_path / 'site')},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == ['100', 'True', '100', 'somewhere', '64']


def requirements(repository: Path) -> dict[str, set[str]]:
    setup = configparser.RawConfigParser()
    setup.read(repository / 'setup.cfg')
    lists = {'': setup['options']['install_requires'], **setup['options.extras_require']}
    return {
        extra: {Requirement(line.strip()).name for line in text.splitlines() if line.strip() and line[0] != '#'}
        for extra, text in lists.items()
    }


def test_the_two_providers_are_never_installed_together(repository):
    names = requirements(repository)
    assert not any(name.startswith('onedl-') for name in names['openmmlab'])
    assert not {'mmengine', 'mmcv', 'mmcv-lite', 'mmsegmentation'} & names['onedl']
    assert not any(name.startswith(('mm', 'onedl')) for name in names[''])
    setup = (repository / 'setup.cfg').read_text()
    assert 'dino_plugin[onedl,lightly,channels,onnx,detection,test,docs]' in setup, 'the extra "all" names its parts'


def test_there_is_one_distribution_of_opencv(repository):
    for names in requirements(repository).values():
        assert not {'opencv-python-headless', 'opencv-contrib-python'} & names


def test_every_import_of_the_package_is_declared(repository):
    declared = {name.lower().replace('-', '_') for name in requirements(repository)['']}
    for extra in ('onnx', 'parquet', 'index', 'lora', 'float8', 'datasets', 'curation', 'video', 'text'):
        declared |= requirements(repository)[extra]
    declared |= {'transformers'}  # imported only if it is installed, as mmengine does
    declared |= {'dino_plugin', 'mmengine', 'mmcv', 'mmseg', 'mmdet', 'lightly', *sys.stdlib_module_names}
    aliases = {'cv2': 'opencv_python', 'PIL': 'pillow', 'sklearn': 'scikit_learn', 'faiss': 'faiss-cpu'}
    aliases |= {'open_clip': 'open_clip_torch'}
    missing = set()
    for path in (repository / 'dino_plugin').rglob('*.py'):
        if '.mim' not in path.parts:
            missing |= {(path.name, name) for name in imports(path) if aliases.get(name, name) not in declared}
    assert not missing


def imports(path: Path) -> set[str]:
    """Top-level names of all modules that a file imports, inside functions too."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    direct = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    members = {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.split('.')[0] for name in direct | members}


# --- providers --------------------------------------------------------------------------------------------------------


def pretend(monkeypatch, *, installed: dict[str, str], modules: tuple[str, ...] = ('mmengine', 'mmcv')) -> None:
    """An environment with these distributions and modules."""

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(providers, 'version', version)
    monkeypatch.setattr(providers, 'find_spec', lambda name: object() if name in modules else None)


ONEDL = {'onedl-mmengine': '0.10.12', 'onedl-mmcv': '2.3.6'}
OFFICIAL = {'mmengine': '0.11.0rc3', 'mmcv-lite': '2.1.0'}


@pytest.mark.parametrize('installed', [ONEDL, OFFICIAL, {'mmengine-lite': '0.10.7', 'mmcv': '2.1.0'}, {}])
def test_one_whole_provider_is_accepted(installed, monkeypatch):
    pretend(monkeypatch, installed=installed)  # {}: sources on the path, without metadata
    providers.require_openmmlab()


def message(monkeypatch, **environment) -> str:
    pretend(monkeypatch, **environment)
    with pytest.raises(ImportError) as error:
        providers.require_openmmlab()
    text = str(error.value)
    assert 'pip ' in text, 'the message names no cure'
    assert '\n' not in text
    assert '. ' not in text, 'the message is more than a sentence'
    return text


def test_no_provider_is_answered_with_the_pip_line(monkeypatch):
    text = message(monkeypatch, installed={}, modules=())
    assert 'needs mmengine and mmcv' in text
    assert text.endswith('pip install "dino_plugin[onedl]"')


def test_mmengine_without_mmcv_is_answered_with_its_own_family(monkeypatch):
    text = message(monkeypatch, installed={'mmengine': '0.10.7'}, modules=('mmengine',))
    assert 'needs mmcv,' in text
    assert text.endswith('pip install "dino_plugin[openmmlab]"')
    text = message(monkeypatch, installed={'onedl-mmengine': '0.10.12'}, modules=('mmengine',))
    assert text.endswith('pip install "dino_plugin[onedl]"')


def test_both_providers_together_are_refused(monkeypatch):
    text = message(monkeypatch, installed=ONEDL | OFFICIAL)
    assert 'onedl-mmcv and onedl-mmengine and mmcv-lite and mmengine are installed together' in text
    assert 'pip uninstall -y onedl-mmcv onedl-mmengine mmcv-lite mmengine && pip install "dino_plugin[onedl]"' in text


@pytest.mark.parametrize(
    ('name', 'version', 'rest'),
    [('mmengine', '0.10.5', {'mmcv-lite': '2.1.0'}), ('mmcv', '1.7.2', {'mmengine': '0.10.7'}),
     ('onedl-mmengine', '0.10.9', {'onedl-mmcv': '2.3.6'})],
)  # fmt: skip
def test_an_old_provider_is_refused(name, version, rest, monkeypatch):
    text = message(monkeypatch, installed={name: version, **rest})
    assert f'{name} {version} is too old' in text
    assert f'pip install --upgrade "{name}>={providers.PROVIDERS[name.removeprefix("onedl-")][name]}"' in text


def test_the_versions_asked_for_at_import_are_those_of_setup_cfg(repository):
    text = (repository / 'setup.cfg').read_text()
    for name in ('onedl-mmengine', 'onedl-mmcv'):
        lower = re.search(rf'^    {name}>=([\d.]+)', text, flags=re.MULTILINE)[1]
        assert lower == providers.PROVIDERS[name.removeprefix('onedl-')][name]


def test_the_check_does_not_import_what_it_checks():
    script = (
        'import sys; from dino_plugin.openmmlab.providers import require_openmmlab as r; '
        'r(); print("mmengine" in sys.modules)'
    )
    run = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert run.stdout.strip() == 'False', run.stderr


def test_the_wheel_brings_the_command(wheel: zipfile.ZipFile) -> None:
    info = f'dino_plugin-{dino_plugin.__version__}.dist-info'
    scripts = configparser.ConfigParser()
    scripts.read_string(wheel.read(f'{info}/entry_points.txt').decode())
    assert dict(scripts['console_scripts']) == {'dino-plugin': 'dino_plugin.__main__:main'}


def test_the_citation_names_this_version(repository: Path) -> None:
    citation = yaml.safe_load((repository / 'CITATION.cff').read_text(encoding='utf-8'))
    assert (citation['version'], citation['license']) == (dino_plugin.__version__, 'Apache-2.0')
