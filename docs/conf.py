"""The documentation site, built by Sphinx: bash tools/build_docs.sh

The source folder is the repository, not docs/, so that one relative link is right on GitHub and in the site, and the
pages outside of docs/ (CONTRIBUTING.md, configs/*/README.md) are pages of the site, too.
"""

import sys
from pathlib import Path

import dino_plugin

DOCS = Path(__file__).resolve().parent
REPOSITORY = DOCS.parent
sys.path.insert(0, str(DOCS / 'extensions'))

project = 'dino_plugin'
author = 'The dino_plugin contributors'
release = dino_plugin.__version__
html_title = f'{project} {release}'

root_doc = 'docs/index'
include_patterns = ['docs/**', 'configs/README.md', 'configs/*/README.md', 'CONTRIBUTING.md', 'CHANGELOG.md']
_READ = {
    'docs',
    'configs',
    'CONTRIBUTING.md',
    'CHANGELOG.md',
}  # Sphinx walks through everything else: environments, data
exclude_patterns = [path.name for path in REPOSITORY.iterdir() if path.name not in _READ]
exclude_patterns += ['docs/_build', '**.ipynb_checkpoints']

extensions = [
    'myst_nb',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'sphinx_design',
    'data_flow',
    'equations',
    'mathml',
    'names',
    'recipes',
    'repository_files',
    'rooms_picture',
]

myst_enable_extensions = ['amsmath', 'attrs_inline', 'colon_fence', 'dollarmath']
myst_fence_as_directive = ['mermaid']
myst_heading_anchors = 4
nb_execution_mode = 'off'  # notebooks are stored with their output

default_role = 'code'  # `name` in docstrings
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 88
viewcode_follow_imported_members = False  # its links back would name dino_plugin.pretrain's neighbours wrongly
napoleon_numpy_docstring = False

html_math_renderer = 'mathml'
html_theme = 'furo'
html_static_path = ['static']
html_extra_path = ['site_root']  # index.html, which leads to docs/index.html
html_css_files = ['site.css']
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
pygments_style = 'tango'
pygments_dark_style = 'monokai'
