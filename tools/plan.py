"""What does a recipe need? Memory, operations and hours, computed from shapes: python tools/plan.py CONFIG --gpus N

Nothing is trained, no image and no file of weights is read, and no GPU is needed.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path

from dino_plugin.commands.command_line import new_parser
from dino_plugin.commands.everyday_options import positive


def parse_args() -> argparse.Namespace:
    parser = new_parser('Compute what a pretraining recipe needs: memory, operations, hours.')
    parser.add_argument('--gpus', type=positive, metavar='N', help="default: as the config's name says (8xb128), or 1")
    parser.add_argument('--gpu-memory', type=float, default=80, metavar='GIB', help='of each (default: %(default)s)')
    parser.add_argument('--reserve', type=float, default=4, metavar='GIB',
                        help='of it for CUDA, NCCL and gaps, an assumption (default: %(default)s)')  # fmt: skip
    parser.add_argument('--batch-size', type=positive, metavar='N', help='images on each GPU')
    parser.add_argument('--checkpointing', action='store_true', help='compute activations again in the backward pass')
    parser.add_argument('--mfu', type=float, default=0.4, metavar='SHARE',
                        help='share of the peak that is reached, an assumption (default: %(default)s)')  # fmt: skip
    parser.add_argument('--peak-tflops', type=float, default=989,
                        help='of a GPU (default: %(default)s, H100 SXM, dense bf16, by its data sheet)')  # fmt: skip
    parser.add_argument('--num-images', type=positive, metavar='N', help='for a schedule that counts epochs')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures')
    args = parser.parse_args()
    if not 0 < args.mfu <= 1 or args.peak_tflops <= 0:
        parser.error(f'--mfu is a share in (0, 1], --peak-tflops more than 0; got {args.mfu} and {args.peak_tflops}')
    if not 0 <= args.reserve < args.gpu_memory:
        parser.error(f'--reserve is a part of --gpu-memory; got {args.reserve} of {args.gpu_memory}')
    return args


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    from mmengine.logging import MMLogger
    from rich.console import Console

    from dino_plugin.commands.everyday_options import apply_train_options
    from dino_plugin.commands.launch import read_config
    from dino_plugin.commands.mistakes import explained
    from dino_plugin.plan.needs import Machine, as_dict, images_of_schedule, measured
    from dino_plugin.plan.table import memory_table, sentences

    MMLogger.get_current_instance().setLevel('ERROR')
    cfg = read_config(args)
    named = re.search(r'_(\d+)xb\d', args.config)
    machine = Machine(
        args.gpus or (int(named[1]) if named else 1), args.gpu_memory, args.reserve, args.peak_tflops, args.mfu
    )
    with explained(cfg, 'train'):
        apply_train_options(cfg, argparse.Namespace(config=args.config, batch_size=args.batch_size), {})
        images = images_of_schedule(cfg, machine.gpus, args.num_images)
        plan, checkpointed = as_dict(measured(cfg, args.checkpointing or None), machine, images), None
        fits = any(plan['largest_batch'][way] >= plan['batch_per_gpu'] for way in plan['memory'])
        if not fits and not args.checkpointing and not cfg.model.backbone.get('gradient_checkpointing'):
            checkpointed = as_dict(measured(cfg, True), machine, images)
    console = Console()
    console.print(memory_table(plan))
    for sentence in sentences(plan, checkpointed):
        console.print(sentence, highlight=False)
    if args.json:
        args.json.write_text(json.dumps(dict(config=args.config, **plan), indent=1) + '\n')


if __name__ == '__main__':
    main()
