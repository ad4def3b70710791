# Run by tools/study.py: CNNs and transformers, the study's future work, adapted in the same way from three seeds, both
# as the study trains (SGD) and as the field trains transformers (AdamW, layer-wise decay, warm-up), so that neither has its own way alone;
# MobileNetV2, whose layers mmpretrain does not count, without the decay.
#   python tools/study.py configs/studies/cnn_vs_transformer.py
# Each source model is trained once, by the configs that are its own.
runs = {
    'resnet-50': dict(
        config='deeplabv3/deeplabv3_r50-os16_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_r50-os16_1xb16-30k_voc12aug-512x512.py',
    ),
    'mobilenet-v2': dict(
        config='deeplabv3/deeplabv3_mobilenet-v2-os16_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_mobilenet-v2-os16_1xb16-30k_voc12aug-512x512.py',
    ),
    # The same head on every backbone. Swin and MiT have stride 32 under it, and all but the CNNs of the
    # study stochastic depth.
    'convnext-t': dict(
        config='deeplabv3/deeplabv3_convnext-t-os16_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_convnext-t-os16_1xb16-30k_voc12aug-512x512.py',
    ),
    'deit-s': dict(
        config='deeplabv3/deeplabv3_deit-s16_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_deit-s16_1xb16-30k_voc12aug-512x512.py',
    ),
    'swin-t': dict(
        config='deeplabv3/deeplabv3_swin-t_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_swin-t_1xb16-30k_voc12aug-512x512.py',
    ),
    'mit-b2': dict(
        config='deeplabv3/deeplabv3_mit-b2_1xb4-200_voc2cityscapes-768x768.py',
        source='deeplabv3/deeplabv3_mit-b2_1xb16-30k_voc12aug-512x512.py',
    ),
    # And each with its own.
    'segformer-b2': dict(
        config='segformer/segformer_mit-b2_1xb4-200_voc2cityscapes-768x768.py',
        source='segformer/segformer_mit-b2_1xb16-30k_voc12aug-512x512.py',
    ),
    'upernet-swin-t': dict(
        config='upernet/upernet_swin-t_1xb4-200_voc2cityscapes-768x768.py',
        source='upernet/upernet_swin-t_1xb16-30k_voc12aug-512x512.py',
    ),
}
variants = {
    # configs/_base_/schedules/adaptation_200.py
    'sgd': dict(
        optim_wrapper=dict(
            _delete_=True,
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0001),
            paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=0.1))),
        ),
        param_scheduler=[dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=200, by_epoch=False)],
    ),
    # configs/_base_/schedules/adamw.py
    'adamw': dict(
        optim_wrapper=dict(
            _delete_=True,
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=6e-5, weight_decay=0.01),
            constructor='LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(
                layer_decay_rate=0.9,
                head_lr_mult=10,
                flat_decay_mult=0.0,
                custom_keys=dict(
                    cls_token=dict(decay_mult=0.0),
                    pos_embed=dict(decay_mult=0.0),
                    relative_position_bias_table=dict(decay_mult=0.0),
                ),
            ),
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-6, begin=0, end=10, by_epoch=False),
            dict(type='PolyLR', power=1.0, eta_min=0, begin=10, end=200, by_epoch=False),
        ],
    ),
}
# What transformers are expected to differ in beside mIoU: the edges of things, and what is forgotten of PASCAL VOC.
options = dict(
    val_evaluator=[dict(type='AdaptationMetric', source='voc'), dict(type='BoundaryMetric')],
    custom_hooks=[
        dict(type='HeadTransferHook', source='voc', target='cityscapes'),
        dict(
            type='AdaptationHook',
            forgetting=dict(
                interval=8,  # of the validations: every 40 iterations
                # mmseg::_base_/datasets/pascal_voc12.py
                dataloader=dict(
                    batch_size=1,
                    num_workers=2,
                    sampler=dict(type='DefaultSampler', shuffle=False),
                    dataset=dict(
                        type='PascalVOCDataset',
                        data_root='data/VOCdevkit/VOC2012',
                        ann_file='ImageSets/Segmentation/val.txt',
                        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
                        pipeline=[
                            dict(type='LoadImageFromFile'),
                            dict(type='Resize', scale=(2048, 512), keep_ratio=True),
                            dict(type='LoadAnnotations'),
                            dict(type='PackSegInputs'),
                        ],
                    ),
                ),
            ),
        ),
    ],
)
seeds = [0, 1, 2]
resources = dict(gpus_per_node=1, cpus_per_task=8, mem_gb=32, timeout_min=12 * 60)
