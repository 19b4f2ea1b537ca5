"""Run a batch again that gave something not finite, and name the first module: python tools/replay.py FILE

FILE is WORK_DIR/not_finite/iter_N_process_R.pth, which a training writes when a loss or a gradient is NaN or infinite.
The exit status is 0 if it is not finite again, 1 if everything is finite this time.
"""

from __future__ import annotations

import argparse
import sys

from dino_plugin.commands.command_line import existing


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Find the first module that gave something not finite.')
    parser.add_argument('file', type=existing, help='a captured batch, WORK_DIR/not_finite/iter_N_process_R.pth')
    parser.add_argument('--precision', choices=['fp32', 'bf16', 'fp16'], help='default: that of the training')
    parser.add_argument('--config', help='file or name: its model takes the place of the captured one (moved code)')
    parser.add_argument('--device', help='cpu or cuda (default: a GPU if there is one)')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # Imported here, so that --help and usage errors are quick.
    import torch

    import dino_plugin.engine.vocabulary  # noqa: F401
    from dino_plugin.commands.launch import read_config
    from dino_plugin.commands.replay import read_capture, replay

    config = read_config(argparse.Namespace(config=args.config, cfg_options={})) if args.config else None
    capture = read_capture(args.file, config)
    precision = args.precision or capture['precision']
    device = args.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    reproduced = False
    for number, batch in enumerate(capture['batches']):
        outcome = replay(capture, number, precision, device)
        reproduced |= outcome.reproduced
        print(f'iteration {batch["iteration"] + 1}, progress {batch["progress"]:.3f}, {precision} on {device}')
        for name, value in outcome.losses.items():
            print(f'  {name:<28} {value:.6g} (in the training {batch["losses"].get(name, float("nan")):.6g})')
        for passed in outcome.table:
            print(f'  {passed.largest_in:>10.4g} -> {passed.largest_out:<10.4g} {passed.name} ({passed.kind})')
        print('\n'.join(outcome.said) or 'Everything is finite this time.')
    sys.exit(0 if reproduced else 1)


if __name__ == '__main__':
    main()
