"""A study file becomes runs; what cannot run is found before anything starts."""

import os
from inspect import signature
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import HOOKS, MODELS
from mmseg.utils import register_all_modules

from mmseg_deeplab_study.hub import CONFIGS
from mmseg_deeplab_study.studies.plan import check_study, find_problems, read_study

STUDIES = sorted((CONFIGS / 'studies').glob('*.py'))


def names(study) -> list[str]:
    return [run.name for run in study.runs]


def test_runs_are_configs_by_variants_by_seeds(make_study, tmp_path):
    own = {'optim_wrapper': dict(head=0.2, backbone=0.6)}
    study = make_study(
        runs={'a': dict(config='well.py', options=own), 'b': dict(config='well.py')},
        variants={
            'zero': {},
            'random': {'custom_hooks.0.unmatched': 'random', 'optim_wrapper': dict(backbone=0.5)},
        },
        seeds=[0, 7],
        options=dict(optim_wrapper=dict(head=0.3, backbone=0.4)),
    )
    expected = [f'{run}/{kind}/seed{seed}' for run in 'ab' for kind in ('zero', 'random') for seed in (0, 7)]
    assert names(study) == expected
    assert [run.folder for run in study.runs] == [tmp_path / 'out' / name for name in expected]
    # The study's options, then the run's, then the variant's.
    resolved = [run.resolve() for run in study.runs]
    rates = [(cfg.optim_wrapper.head, cfg.optim_wrapper.backbone) for cfg in resolved[::2]]
    assert rates == [(0.2, 0.6), (0.2, 0.5), (0.3, 0.4), (0.3, 0.5)]
    assert [cfg.custom_hooks[0].unmatched for cfg in resolved] == ['zero', 'zero', 'random', 'random'] * 2
    assert [cfg.randomness.seed for cfg in resolved] == [0, 7] * 4
    assert not (tmp_path / 'out').exists()


def test_a_source_is_trained_once_and_adaptations_start_from_its_last_checkpoint(make_study, tmp_path):
    run = dict(config='well.py', source='fails.py', source_options={'train_cfg.max_iters': 9})
    study = make_study(runs={'a': run}, seeds=[1, 2], source_seed=5, options={'optim_wrapper.head': 0.2})
    assert names(study) == ['a/source', 'a/seed1', 'a/seed2']
    assert [run.name for run in study.adaptations] == ['a/seed1', 'a/seed2']
    source, *others = [run.resolve() for run in study.runs]
    assert (source.randomness.seed, source.train_cfg.max_iters, source.optim_wrapper.head) == (5, 9, 0.1)
    assert {cfg.load_from for cfg in others} == {str(tmp_path / 'out/a/source/iter_9.pth')}


def test_the_environment_of_a_study_is_for_its_configs_alone(make_study, tmp_path, monkeypatch):
    leaf = "root = '{{$MY_ROOT:here}}-{{$MY_OTHER:old}}'\ntrain_cfg = dict(max_iters=1)\n"
    (tmp_path / 'leaf.py').write_text(leaf)
    monkeypatch.setenv('MY_ROOT', 'mine')
    (run,) = make_study('leaf.py', environment=dict(MY_ROOT='there', MY_OTHER='new')).runs
    assert run.resolve().root == 'there-new'
    assert os.environ['MY_ROOT'] == 'mine' and 'MY_OTHER' not in os.environ


def test_overrides_and_default_folder(make_study_file, tmp_path, monkeypatch):
    path = make_study_file(runs={'a': dict(config='well.py')}, seeds=[0, 1])
    monkeypatch.chdir(tmp_path)
    study = read_study(path, overrides={'seeds': [4], 'options.optim_wrapper.head': 9})
    assert names(study) == ['a/seed4']
    assert study.folder == tmp_path / 'work_dirs' / 'studies' / 'my_study'
    assert study.runs[0].resolve().optim_wrapper.head == 9


def test_recipes_differ_by_what_is_trained(make_study):
    def recipe(**parts) -> dict:
        return make_study(**parts).runs[0].recipe()

    first = recipe()
    assert first == recipe() == recipe(resources=dict(cpus_per_task=3))
    for parts in (
        dict(seeds=[1]),
        dict(options={'optim_wrapper.head': 3}),
        dict(options={'load_from': 'x.pth'}),
        dict(environment={'MY_ROOT': 'x'}),
        dict(resources=dict(gpus_per_node=4)),
    ):
        assert first != recipe(**parts), parts


@pytest.mark.parametrize(
    'parts, message',
    [
        (dict(runs={}), r'has no runs; give runs=dict\(NAME=dict\(config=LEAF\), ...\)'),
        (dict(runs=['well.py']), r"runs must be a dict, but got \['well.py'\]"),
        (dict(runs={1: dict(config='well.py')}), '1 names a folder'),
        (dict(runs={'a': dict(config='well.py', options=3)}), "options of run 'a' must be a dict, but got 3"),
        (dict(variants={'v': 3}), "variant 'v' must be a dict, but got 3"),
        (dict(variants={}), 'variants is empty; leave it out for none'),
        (dict(seeds=[0, 0]), r'more different integers of 0 or more, but got \[0, 0\]'),
        (dict(seeds=[-1]), r'different integers of 0 or more, but got \[-1\]'),
        (dict(seeds=[]), r'seeds must be one or more different integers of 0 or more, but got \[\]'),
        (
            dict(resources=dict(nodes=2)),
            'resources.nodes must be 1, as a job is one call of tools/train.py, but got 2',
        ),
        (dict(runs={'a': 'well.py'}), "run 'a' must be a dict with config .* but got 'well.py'"),
        (dict(runs={'a': dict(conf='x')}), "run 'a' must be a dict with config .* but got {'conf': 'x'}"),
        (dict(runs={'a/b': dict(config='well.py')}), "'a/b' names a folder and must have no blank, no slash"),
        (dict(seed=3), "unknown part 'seed'; a study has runs, variants"),
    ],
)
def test_what_is_no_study(make_study, parts, message):
    with pytest.raises(ValueError, match=message):
        make_study(**parts)


def test_files_that_are_no_study(make_study, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'study nowhere.py: no such file'):
        read_study(Path('nowhere.py'))
    (tmp_path / 'torn.py').write_text('seeds = [0]\nruns = {\n')
    with pytest.raises(ValueError, match=r"study .*torn.py, line 2: '{' was never closed"):
        read_study(tmp_path / 'torn.py')
    with pytest.raises(FileNotFoundError, match=r"config 'wel.py' is not beside it, and 'wel.py' is none of"):
        make_study('wel.py')
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'adaptation.jsonl').touch()
    with pytest.raises(ValueError, match=r'is the folder of a run \(adaptation.jsonl\); give another --work'):
        make_study()


@pytest.mark.parametrize('load_from', ['https://example.org/x.pth', 'torchvision://resnet50', None])
def test_weights_that_are_fetched_are_not_looked_for(make_study, load_from):
    check_study(make_study(options=dict(load_from=load_from)))


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'custom_hook.0': 3},
            r"option .*: no part of a config is called 'custom_hook'; did you mean 'custom_hooks'\?",
        ),
        ({'randomness.seed': 3}, "option 'randomness.seed': the study says that by seeds"),
        (
            {'train_cfg.max_iter': 3},
            "option 'train_cfg.max_iter': well.py has no 'max_iter', but 'max_iters'",
        ),
        ({'work_dir': 'x'}, "option 'work_dir': the study says that by --work-dir"),
        ({'custom_hooks.3.unmatched': 'zero'}, 'option .*unmatched. does not fit well.py: .*3'),
        ({'optim_wrapper.head.deep': 3}, 'option .*deep. does not fit well.py'),
        (
            {'load_from': 'mine.pth'},
            "option 'load_from': it starts from its source, .* give runs.a.source=",
        ),
    ],
)
def test_options_that_do_not_fit(make_study, options, message):
    with pytest.raises(ValueError, match=f'run a/seed0: {message}'):
        check_study(make_study(source='well.py', options=options))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'model.foo': 1}, "model: BaseDataPreprocessor takes no 'foo'. It takes non_blocking"),
        ({'model.type': 'BaseDataPreproces'}, "model.type='BaseDataPreproces': nothing of that name is"),
    ],
)
def test_models_that_cannot_be_built(make_study, tmp_path, options, message):
    text = "model = dict(type='BaseDataPreprocessor')\ntrain_cfg = dict(max_iters=1)\n"
    (tmp_path / 'small.py').write_text(text)
    with pytest.raises(ValueError, match=f'run a/seed0: {message}'):
        check_study(make_study(runs={'a': dict(config='small.py')}, options=options))


def test_a_model_of_another_scope(make_study, tmp_path):
    text = "default_scope = 'mmpretrain'\nmodel = dict(type='LinearClsHead', num_classes=2, in_channels=3)\n"
    (tmp_path / 'other.py').write_text(text + 'train_cfg = dict(max_iters=1)\n')
    check_study(make_study(runs={'a': dict(config='other.py')}))


HOOK = dict(type='AdaptationHook', forgetting=dict(dataloader=dict(dataset=dict(data_root='no/data'))))
ROOT = 'train_dataloader.dataset.data_root'
OF_A_HOOK = 'options.custom_hooks.0.forgetting.dataloader.dataset.data_root'
NO_DATA = "seed0: .*'no/data' does not exist"


@pytest.mark.parametrize(
    ('parts', 'message', 'key'),
    [
        (dict(config='data.py'), f"seed0: {ROOT}: the folder 'no/data'", f'options.{ROOT}'),
        (dict(source='data.py'), f'source: {ROOT}', f'runs.a.source_options.{ROOT}'),
        (dict(config='hooked.py'), NO_DATA, OF_A_HOOK),
        (dict(options=dict(custom_hooks=[HOOK])), NO_DATA, OF_A_HOOK),
        (
            dict(runs={'a': dict(config='well.py', options=dict(load_from='tflite://no.tflite'))}),
            'seed0: load_from=tflite://no.tflite: no such file',
            'runs.a.options.load_from',
        ),
        (
            dict(
                runs={'a': dict(config='well.py', source='well.py', source_options=dict(load_from='no.pth'))}
            ),
            'source: load_from=no.pth: no such file',
            'runs.a.source_options.load_from',
        ),
    ],
)
def test_what_is_missing_is_named_with_the_option_that_gives_it(make_study, tmp_path, parts, message, key):
    end = '\ntrain_cfg = dict(max_iters=1)\n'
    (tmp_path / 'data.py').write_text(f"train_dataloader = dict(dataset=dict(data_root='no/data')){end}")
    (tmp_path / 'hooked.py').write_text(f'custom_hooks = [{HOOK!r}]{end}')
    value = 'CHECKPOINT' if key.endswith('load_from') else 'DIR'
    with pytest.raises(FileNotFoundError, match=f'run a/{message}.*--cfg-options {key}={value}'):
        check_study(make_study(**parts))
    # The cure that the message names works.
    (tmp_path / 'mine.pth').touch()
    mine = tmp_path / 'mine.pth' if value == 'CHECKPOINT' else tmp_path
    check_study(make_study(**parts, overrides={key: str(mine)}))


TENFOLD_HEAD = dict(custom_keys=dict(head=dict(lr_mult=10)))


@pytest.mark.parametrize(
    ('wrapper', 'message'),
    [
        (
            dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=TENFOLD_HEAD),
            r"paramwise_cfg.custom_keys\['head'\] has lr_mult=10, .* does not take",
        ),
        (
            dict(constructor='Nothing'),
            "optim_wrapper.constructor='Nothing' is not registered; .*custom_imports",
        ),
    ],
)
def test_rates_that_would_stop_a_run_after_its_source(make_study, tmp_path, wrapper, message):
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1), **wrapper)
    (tmp_path / 'rates.py').write_text(f'optim_wrapper = {wrapper!r}\ntrain_cfg = dict(max_iters=1)\n')
    with pytest.raises(ValueError, match=f'run a/seed0: {message}'):
        check_study(make_study('rates.py', source='well.py'))


def test_a_study_elsewhere_inherits_from_ours(tmp_path):
    assert {'voc2cityscapes', 'head_transfer', 'camvid', 'demo'} <= {path.stem for path in STUDIES}
    base = "__import__('mmseg_deeplab_study').config_path('studies/voc2cityscapes.py')"
    (tmp_path / 'mine.py').write_text(f'_base_ = {base}\nseeds = [5]\n')
    study = read_study(tmp_path / 'mine.py')
    kinds = ('source', 'seed5')
    assert names(study) == [f'{name}/{kind}' for name in ('resnet-50', 'mobilenet-v2') for kind in kinds]
    assert {run.gpus for run in study.runs} == {1}


@pytest.mark.parametrize('path', STUDIES, ids=lambda path: path.stem)
def test_every_study_of_ours(path):
    """Its runs resolve, and each variant changes what is trained."""
    study = read_study(path)
    first = [run for run in study.adaptations if run.seed == study.adaptations[0].seed]
    digests = {run.name: run.recipe()['config_digest'] for run in first}
    assert len(set(digests.values())) == len(digests)
    leaves = {path: Config.fromfile(path) for path in {run.config for run in first}}
    for run in first:
        if run.source:
            assert run.resolve().load_from == str(run.source.checkpoint)
        for key in run.options:
            assert is_known(key, leaves[run.config]), key


def test_the_recipes_of_cnns_and_transformers_are_those_of_their_leaves():
    """Of every run's leaf, and whichever runs were resolved before."""
    study = read_study(CONFIGS / 'studies' / 'cnn_vs_transformer.py')
    by_name = {run.name: run for run in study.adaptations}
    leaves = {
        variant: Config.fromfile(by_name[f'{name}/{variant}/seed0'].config)
        for variant, name in (('sgd', 'resnet-50'), ('adamw', 'deit-s'))
    }
    for run in study.adaptations:
        run.resolve()
    for run in study.adaptations:
        found, leaf = run.resolve(), leaves[run.name.split('/')[1]]
        # What changes nothing, and comes from MMSeg's base.
        nothing = {'clip_grad': None, '_scope_': 'mmseg'}
        assert nothing | found.optim_wrapper.to_dict() == nothing | leaf.optim_wrapper.to_dict(), run.name
        assert found.param_scheduler == leaf.param_scheduler


def is_known(key: str, cfg: Config) -> bool:
    """Whether a leaf has an option already, or what is built there has such a parameter."""
    *path, last = key.split('.')
    node = cfg
    for part in path:
        node = node[int(part)] if part.isdigit() else node[part]
    if last in node or not path:
        return last in node
    register_all_modules()
    registry = HOOKS if path[0] == 'custom_hooks' else MODELS
    return last in signature(registry.get(node['type'])).parameters


def test_all_that_is_missing_is_found_each_once(make_study, tmp_path):
    data = "train_dataloader = dict(dataset=dict(data_root='no/data'))\nval_dataloader = train_dataloader\n"
    (tmp_path / 'data.py').write_text(f"{data}load_from = 'no.pth'\ntrain_cfg = dict(max_iters=1)\n")
    other = dict(config='data.py', options={'val_dataloader.dataset.data_root': 'no/more'})
    study = make_study(runs={'a': dict(config='data.py'), 'b': {**other}}, seeds=[0, 1])
    found = [str(problem).split(';')[0].split(' (')[0] for problem in find_problems(study)]
    assert found == [
        "run a/seed0: train_dataloader.dataset.data_root: the folder 'no/data' does not exist",
        'run a/seed0: load_from=no.pth: no such file',
        "run b/seed0: val_dataloader.dataset.data_root: the folder 'no/more' does not exist",
    ]
