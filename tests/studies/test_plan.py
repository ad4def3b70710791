"""A study file becomes runs; what cannot run is found before anything starts."""

import os
from inspect import signature
from pathlib import Path

import pytest
from mmengine.config import Config
from mmseg.registry import HOOKS, MODELS
from mmseg.utils import register_all_modules

from mmseg_deeplab_study.hub import CONFIGS
from mmseg_deeplab_study.studies.plan import check_study, read_study

STUDIES = sorted((CONFIGS / 'studies').glob('*.py'))


def names(study) -> list[str]:
    return [run.name for run in study.runs]


def test_runs_are_configs_by_variants_by_seeds(make_study_file, tmp_path):
    path = make_study_file(
        runs={'a': dict(config='well.py', options={'optim_wrapper.head': 0.2}), 'b': dict(config='well.py')},
        variants={
            'zero': {},
            'random': {'custom_hooks.0.unmatched': 'random', 'optim_wrapper': dict(backbone=0.5)},
        },
        seeds=[0, 7],
        options=dict(optim_wrapper=dict(head=0.3, backbone=0.4)),
    )
    study = read_study(path, tmp_path / 'out')
    expected = [
        f'{run}/{variant}/seed{seed}' for run in 'ab' for variant in ('zero', 'random') for seed in (0, 7)
    ]
    assert names(study) == expected
    assert [run.folder for run in study.runs] == [tmp_path / 'out' / name for name in expected]
    # The study's options, then the run's, then the variant's.
    resolved = [run.resolve() for run in study.runs]
    assert [cfg.optim_wrapper.to_dict() for cfg in resolved[::2]] == [
        dict(head=0.2, backbone=0.4),
        dict(head=0.2, backbone=0.5),
        dict(head=0.3, backbone=0.4),
        dict(head=0.3, backbone=0.5),
    ]
    assert [cfg.custom_hooks[0].unmatched for cfg in resolved] == ['zero', 'zero', 'random', 'random'] * 2
    assert [cfg.randomness.seed for cfg in resolved] == [0, 7] * 4
    assert not (tmp_path / 'out').exists()


def test_a_source_is_trained_once_and_adaptations_start_from_its_last_checkpoint(make_study_file, tmp_path):
    path = make_study_file(
        runs={'a': dict(config='well.py', source='fails.py', source_options={'train_cfg.max_iters': 9})},
        seeds=[1, 2],
        source_seed=5,
        options={'optim_wrapper.head': 0.2},
    )
    study = read_study(path, tmp_path / 'out')
    assert names(study) == ['a/source', 'a/seed1', 'a/seed2']
    assert [run.name for run in study.adaptations] == ['a/seed1', 'a/seed2']
    source, *others = [run.resolve() for run in study.runs]
    assert (source.randomness.seed, source.train_cfg.max_iters, source.optim_wrapper.head) == (5, 9, 0.1)
    assert {cfg.load_from for cfg in others} == {str(tmp_path / 'out/a/source/iter_9.pth')}


def test_the_environment_of_a_study_is_for_its_configs_alone(make_study_file, tmp_path, monkeypatch):
    path = make_study_file(
        runs={'a': dict(config='leaf.py')}, environment=dict(MY_ROOT='there', MY_OTHER='new')
    )
    (tmp_path / 'leaf.py').write_text(
        "root = '{{$MY_ROOT:here}}-{{$MY_OTHER:old}}'\ntrain_cfg = dict(max_iters=1)\n"
    )
    monkeypatch.setenv('MY_ROOT', 'mine')
    (run,) = read_study(path).runs
    assert run.resolve().root == 'there-new'
    assert os.environ['MY_ROOT'] == 'mine'
    assert 'MY_OTHER' not in os.environ


def test_overrides_and_default_folder(make_study_file, tmp_path, monkeypatch):
    path = make_study_file(runs={'a': dict(config='well.py')}, seeds=[0, 1])
    monkeypatch.chdir(tmp_path)
    study = read_study(path, overrides={'seeds': [4], 'options.optim_wrapper.head': 9})
    assert names(study) == ['a/seed4']
    assert study.folder == tmp_path / 'work_dirs' / 'studies' / 'my_study'
    assert study.runs[0].resolve().optim_wrapper.head == 9


def test_recipes_differ_by_what_is_trained(make_study_file, tmp_path):
    def recipe(**parts) -> dict:
        return (
            read_study(make_study_file(runs={'a': dict(config='well.py')}, **parts), tmp_path)
            .runs[0]
            .recipe()
        )

    first = recipe()
    assert first == recipe() == recipe(resources=dict(cpus_per_task=3))
    assert first != recipe(seeds=[1])
    assert first != recipe(options={'optim_wrapper.head': 3})
    assert first != recipe(options={'load_from': 'x.pth'})
    assert first != recipe(environment={'MY_ROOT': 'x'})
    assert first != recipe(resources=dict(gpus_per_node=4))


@pytest.mark.parametrize(
    'parts, message',
    [
        (dict(), r'has no runs; give runs=dict\(NAME=dict\(config=LEAF\), ...\)'),
        (dict(runs={}), 'has no runs'),
        (dict(runs=['well.py']), r"runs must be a dict, but got \['well.py'\]"),
        (dict(runs={1: dict(config='well.py')}), '1 names a folder'),
        (dict(runs={'a': dict(config='well.py', options=3)}), "options of run 'a' must be a dict, but got 3"),
        (
            dict(runs={'a': dict(config='well.py')}, variants={'v': 3}),
            "variant 'v' must be a dict, but got 3",
        ),
        (dict(runs={'a': dict(config='well.py')}, variants={}), 'variants is empty; leave it out for none'),
        (
            dict(runs={'a': dict(config='well.py')}, seeds=[0, 0]),
            r'more different integers, but got \[0, 0\]',
        ),
        (
            dict(runs={'a': dict(config='well.py')}, resources=dict(nodes=2)),
            'resources.nodes must be 1, as a job is one call of tools/train.py, but got 2',
        ),
        (dict(runs={'a': 'well.py'}), "run 'a' must be a dict with config .* but got 'well.py'"),
        (dict(runs={'a': dict(conf='x')}), "run 'a' must be a dict with config .* but got {'conf': 'x'}"),
        (dict(runs={'a/b': dict(config='well.py')}), "'a/b' names a folder and must have no blank, no slash"),
        (
            dict(runs={'a': dict(config='well.py')}, seeds=[]),
            r'seeds must be one or more different integers, but got \[\]',
        ),
        (dict(runs={'a': dict(config='well.py')}, seed=3), "unknown part 'seed'; a study has runs, variants"),
    ],
)
def test_what_is_no_study(make_study_file, parts, message):
    with pytest.raises(ValueError, match=message):
        read_study(make_study_file(**parts))


def test_a_syntax_error_names_the_file_and_the_line(tmp_path):
    path = tmp_path / 'torn.py'
    path.write_text('seeds = [0]\nruns = {\n')
    with pytest.raises(ValueError, match=r"study .*torn.py, line 2: '{' was never closed"):
        read_study(path)


def test_the_folder_of_a_run_is_not_a_study_s(make_study_file, tmp_path):
    (tmp_path / 'adaptation.jsonl').touch()
    with pytest.raises(
        ValueError, match=r'is the folder of a run \(adaptation.jsonl\); give another --work-dir'
    ):
        read_study(make_study_file(runs={'a': dict(config='well.py')}), tmp_path)


def test_missing_files(make_study_file, tmp_path):
    with pytest.raises(FileNotFoundError, match=r'study nowhere.py: no such file'):
        read_study(Path('nowhere.py'))
    path = make_study_file(runs={'a': dict(config='wel.py')})
    with pytest.raises(
        FileNotFoundError, match=r"config 'wel.py' is not beside it, and 'wel.py' is none of the"
    ):
        read_study(path)
    path = make_study_file(
        runs={'a': dict(config='well.py')}, options=dict(load_from='tflite://no/such.tflite')
    )
    with pytest.raises(
        FileNotFoundError, match=r'run a/seed0: load_from=tflite://no/such.tflite: no such file'
    ):
        check_study(read_study(path))
    (tmp_path / 'data.py').write_text("train_dataloader = dict(dataset=dict(data_root='no/data'))\n")
    path = make_study_file(runs={'a': dict(config='data.py')})
    with pytest.raises(
        FileNotFoundError, match="run a/seed0: train_dataloader.dataset.data_root: the folder 'no/data'"
    ):
        check_study(read_study(path))


def test_weights_that_are_fetched_are_not_looked_for(make_study_file):
    for load_from in ('https://example.org/x.pth', 'torchvision://resnet50', None):
        check_study(
            read_study(make_study_file(runs={'a': dict(config='well.py')}, options=dict(load_from=load_from)))
        )


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'custom_hook.0': 3},
            r"run a/seed0: option 'custom_hook.0': no part of a config is called 'custom_hook'; "
            r"did you mean 'custom_hooks'\?",
        ),
        ({'randomness.seed': 3}, "run a/seed0: option 'randomness.seed': the study says that by seeds"),
        (
            {'train_cfg.max_iter': 3},
            "run a/seed0: option 'train_cfg.max_iter': well.py has no 'max_iter', but 'max_iters'",
        ),
        ({'work_dir': 'x'}, "run a/seed0: option 'work_dir': the study says that by --work-dir"),
        ({'custom_hooks.3.unmatched': 'zero'}, 'run a/seed0: option .*unmatched. does not fit well.py: .*3'),
        ({'optim_wrapper.head.deep': 3}, 'run a/seed0: option .*deep. does not fit well.py'),
    ],
)
def test_options_that_do_not_fit(make_study_file, options, message):
    path = make_study_file(runs={'a': dict(config='well.py')}, options=options)
    with pytest.raises(ValueError, match=message):
        check_study(read_study(path))


def test_a_checkpoint_beside_a_source_is_refused(make_study_file):
    path = make_study_file(
        runs={'a': dict(config='well.py', source='well.py')}, options=dict(load_from='mine.pth')
    )
    message = r"run a/seed0: option 'load_from': it starts from its source, .* give runs.a.source="
    with pytest.raises(ValueError, match=message):
        check_study(read_study(path))


def test_the_advice_is_for_the_study(make_study_file, tmp_path):
    leaf = "train_dataloader = dict(dataset=dict(data_root='no/data'))\ntrain_cfg = dict(max_iters=1)\n"
    for run, key in (
        (dict(config='data.py'), 'options.train_dataloader.dataset.data_root=DIR'),
        (
            dict(config='well.py', source='data.py'),
            'runs.a.source_options.train_dataloader.dataset.data_root=DIR',
        ),
    ):
        path = make_study_file(runs={'a': run})
        (tmp_path / 'data.py').write_text(leaf)
        with pytest.raises(FileNotFoundError, match=f'--cfg-options {key}'):
            check_study(read_study(path))


@pytest.mark.parametrize(
    ('part', 'name', 'more'), [('options', 'seed0', {}), ('source_options', 'source', dict(source='well.py'))]
)
def test_the_advice_for_a_checkpoint_is_for_its_run(make_study_file, tmp_path, part, name, more):
    path = make_study_file(
        runs={'a': dict(config='well.py', **{part: dict(load_from='nowhere.pth')}, **more)}
    )
    key = f'runs.a.{part}.load_from'
    with pytest.raises(FileNotFoundError, match=f'run a/{name}: .*--cfg-options {key}=CHECKPOINT'):
        check_study(read_study(path))
    (tmp_path / 'mine.pth').touch()
    check_study(read_study(path, overrides={key: str(tmp_path / 'mine.pth')}))


@pytest.mark.parametrize(
    ('wrapper', 'message'),
    [
        (
            dict(
                constructor='LayerDecayOptimWrapperConstructor',
                paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10))),
            ),
            r"run a/seed0: paramwise_cfg.custom_keys\['head'\] has lr_mult=10, .* does not take",
        ),
        (
            dict(constructor='Nothing'),
            "run a/seed0: optim_wrapper.constructor='Nothing' is not registered; .*custom_imports",
        ),
    ],
)
def test_rates_that_would_stop_a_run_behind_its_source(make_study_file, tmp_path, wrapper, message):
    path = make_study_file(runs={'a': dict(config='rates.py', source='well.py')})
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.1), **wrapper)
    (tmp_path / 'rates.py').write_text(f'optim_wrapper = {wrapper!r}\ntrain_cfg = dict(max_iters=1)\n')
    with pytest.raises(ValueError, match=message):
        check_study(read_study(path))


@pytest.mark.parametrize('of_the_study', [True, False])
def test_data_of_a_hook_are_looked_for_too(make_study_file, tmp_path, of_the_study):
    hook = dict(type='AdaptationHook', forgetting=dict(dataloader=dict(dataset=dict(data_root='no/voc'))))
    if of_the_study:
        path = make_study_file(runs={'a': dict(config='well.py')}, options=dict(custom_hooks=[hook]))
    else:
        path = make_study_file(runs={'a': dict(config='hooked.py')})
        (tmp_path / 'hooked.py').write_text(f'custom_hooks = [{hook!r}]\ntrain_cfg = dict(max_iters=1)\n')
    key = 'options.custom_hooks.0.forgetting.dataloader.dataset.data_root'
    with pytest.raises(FileNotFoundError, match=f"'no/voc' does not exist .*--cfg-options {key}=DIR"):
        check_study(read_study(path))
    # The cure that the message names works.
    check_study(read_study(path, overrides={key: str(tmp_path)}))


def test_a_study_elsewhere_inherits_from_ours(tmp_path):
    path = tmp_path / 'mine.py'
    base = "__import__('mmseg_deeplab_study').config_path('studies/voc2cityscapes.py')"
    path.write_text(f'_base_ = {base}\nseeds = [5]\n')
    assert [run.seed for run in read_study(path).adaptations] == [5, 5]


def test_there_are_studies():
    assert {'voc2cityscapes', 'head_transfer', 'camvid', 'demo'} <= {path.stem for path in STUDIES}


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
    """Whatever a run's leaf is, and whichever runs were resolved before."""
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


def test_the_study_is_two_backbones_by_three_seeds():
    study = read_study(CONFIGS / 'studies' / 'voc2cityscapes.py')
    assert names(study) == [
        *('resnet-50/source', 'resnet-50/seed0', 'resnet-50/seed1', 'resnet-50/seed2'),
        *('mobilenet-v2/source', 'mobilenet-v2/seed0', 'mobilenet-v2/seed1', 'mobilenet-v2/seed2'),
    ]
    assert {run.gpus for run in study.runs} == {1}
