"""The page of a report: one HTML file that asks for nothing beyond itself."""

import base64
import hashlib
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ..version import __version__
from .analysis import Analysis
from .content import page_content


def render_page(analysis: Analysis, **options: Any) -> str:
    """The report of analysed runs; ``options`` are those of ``page_content``.

    The same records and pictures give the same bytes. Its content security policy allows no request and no
    script but the two that it holds, so a name from a record cannot run.
    """
    environment = Environment(
        loader=PackageLoader('mmseg_deeplab_study.report'),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = page_content(analysis, **options)
    templates = files('mmseg_deeplab_study.report') / 'templates'
    scripts = {'plotly': get_plotlyjs(), 'script': (templates / 'report.js').read_text('utf-8')}
    return environment.get_template('report.html.jinja').render(
        **content,
        names=[run.name for run in analysis.runs],
        intervals=any(len(group.runs) > 1 for group in analysis.groups),
        version=__version__,
        css=Markup((templates / 'report.css').read_text('utf-8')),
        json=htmlsafe_json_dumps(content['data'], ensure_ascii=False, allow_nan=False, separators=(',', ':')),
        script_hashes=[
            Markup(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'")
            for script in scripts.values()
        ],
        **{name: Markup(script) for name, script in scripts.items()},
    )
