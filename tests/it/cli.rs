//! The program as a user meets it: help, wrong input, exit codes.
//! `SNAPSHOTS=overwrite cargo test --test it` rewrites the expected texts; read the difference.

use snapbox::cmd::{Command, OutputAssert, cargo_bin};
use snapbox::str;

/// Runs `othink` in an empty folder of its own.
fn othink(args: &[&str]) -> OutputAssert {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), args)
}

fn run_in(folder: &std::path::Path, args: &[&str]) -> OutputAssert {
    Command::new(cargo_bin!("othink"))
        .args(args)
        .current_dir(folder)
        .env("COLUMNS", "100")
        .env_remove("OTHINK_LOG")
        .assert()
}

#[test]
fn help_lists_the_commands_and_ends_in_examples() {
    othink(&["--help"]).code(0).stderr_eq("").stdout_eq(str![[r#"
Post-trains vision-language models with GRPO-D: verifiable rewards and a dynamic KL weight

Usage: othink <COMMAND>

Commands:
  train        Train a model by GRPO-D, GRPO or supervised fine-tuning, as the run file says
  init         Write a run file for data of your own
  data         Show rows as a model gets them: fields, pictures, lengths, golds, some whole prompts
  eval         Measure a model on a task: accuracy and format rate with a 95% interval
  cross-eval   Train each method on one task and test it on another: the paper's Figure 7, and its
               Table 1
  sweep        Train and measure a run file with one key at several values: the paper's Figures 4
               and 6
  infer        Answer one question, greedily unless a temperature is given
  grade        Grade completions that are on disk: accuracy by a rule, and format
  merge        Write an adapter and the model that it is for as one model folder
  replay       Compute an update of a run again, and show each stage's figures beside the recorded
               ones
  report       Show runs as a page: before and after, curves, every rollout, tables, health
  watch        Show runs as the same page while they go on, to a browser on this machine
  doctor       Say what this program and this machine can do, and what to change
  gpu-check    Measure a device with a model's shape: what it can do, and how much of that training
               uses
  env          Say what this program and this machine are, to paste into a bug report
  schema       Print the JSON schema of run files, with which editors check and complete them
  completions  Print a script that completes commands and flags in a shell
  man          Write the manual pages into a folder
  help         Print this message or the help of the given subcommand(s)

Options:
  -h, --help     Print help
  -V, --version  Print version

Examples:
  othink train --config quickstart.toml
  othink eval --task synth-vc --model runs/quickstart/checkpoints/step-000100
  othink infer --model tiny --image photo.png --prompt "How many items are there?"

"#]]);
}

#[test]
fn train_help_mirrors_the_run_file() {
    othink(&["train", "--help"]).code(0).stderr_eq("").stdout_eq(str![[r#"
Train a model by GRPO-D, GRPO or supervised fine-tuning, as the run file says

Usage: othink train [OPTIONS] --config <FILE>

Options:
      --config <FILE>            The run file; a name without a folder is also looked up in
                                 configs/, then among the built-in ones
      --set <SECTION.KEY=VALUE>  Replace a value of the run file, such as `grpo.group_size=4`; may
                                 be repeated
      --out <DIR>                The run's folder [default: runs/NAME, after the run file]
      --resume                   Continue the run in its folder from the last whole checkpoint;
                                 begin it where there is none yet. It may be given a greater
                                 train.updates
      --repair                   With --resume: leave out of the files of records what is out of
                                 place there, keep a copy of each, and go on
      --device <DEVICE>          Where to compute: auto, cpu, cuda or cuda:N, as model.device
      --data <PATH>              A file of samples to train on, or a folder: that of the task's
                                 data, or where the image paths of data.train start
      --template <NAME|TEXT>     The words around a question, as data.template: a template's name,
                                 or a text with {problem}
      --check-data               Make every row into a prompt, say which cannot be used and how long
                                 the prompts are, and do nothing
      --dry-run                  Say what the run would take, its memory and its time, and do
                                 nothing
      --gpu <NAME>               Plan for that card, its memory and its speed, whether or not there
                                 is one: h100-80gb, rtx-4090; an unknown name lists them all
      --gpu-memory <GB>          Plan for a card sold with that much memory, 24, 40 or 80 (of 2^30
                                 bytes, while all else here is in units of 10^9), whether or not
                                 there is one, and say what to change where it is too little;
                                 without times, which --gpu gives
      --json                     Print what --dry-run or --check-data says as one JSON object
      --force                    Start although the run will not fit into the GPU's memory, as far
                                 as it can be foreseen
      --allow-changed-data       Resume although rows, pictures or the tokenizer are not those that
                                 the run began with, and write the change into its folder; the base
                                 model's weights must be the same
  -q, --quiet                    No progress, only warnings and errors
  -h, --help                     Print help

Examples:
  othink train --config quickstart.toml
  othink train --config quickstart.toml --resume
  othink train --config geoqa.toml --dry-run --gpu h100-80gb

"#]]);
}

#[test]
fn eval_help_says_what_is_measured() {
    othink(&["eval", "--help"]).code(0).stderr_eq("").stdout_eq(str![[r#"
Measure a model on a task: accuracy and format rate with a 95% interval

Usage: othink eval [OPTIONS]

Options:
      --task <TASK>           The task, such as synth-vc or superclevr
      --model <PATH>          A model folder, a hub id or tiny [default: the task's base model, tiny
                              for drawn tasks]
      --data <PATH>           A file of questions, or the folder that holds the task's data
      --split <SPLIT>         The task's split: test, or shifted for drawn tasks [default: test]
      --limit <N>             At most that many questions
      --samples <K>           Ask every question that many times, sampled, for pass@k and the
                              majority's answer
      --temperature <T>       Sample at this temperature [default: greedy, or 1 with --samples]
      --seed <SEED>           Seed of sampled answers [default: 42]
      --against <MODEL|FILE>  Compare on the same questions with this model (folder, hub id, tiny)
                              or file of answers
      --template <NAME|TEXT>  The words around a question: a template's name, or a text with
                              {problem} [default: the task's]
      --min-pixels <N>        Enlarge images with fewer pixels [default: the task's, else the
                              checkpoint's]
      --max-pixels <N>        Shrink images with more pixels [default: the task's, else the
                              checkpoint's]
      --rule <RULE>           The rule that decides accuracy: answer-tag, r1v-reward, r1v-superclevr
                              or r1v-geoqa [default: the task's]
      --components <NAMES>    Reward components whose means are reported beside accuracy, separated
                              by commas [default: the task's]
      --allow-unparsable      Count solutions that answer-tag cannot read, rather than stop at the
                              first
      --boxes <UNIT>          Unit of boxes in rows, which are written in the model's own: pixels or
                              thousandths [default: the model's]
      --max-new-tokens <N>    Cut an answer off at that many tokens [default: the task's]
      --max-batch <N>         Decode at most that many answers at a time; fewer need less memory
                              [default: 64]
      --out <FILE>            Write every answer to this file, one JSON object a line; the same
                              command continues an interrupted one
      --overwrite             Replace what the file of --out holds already
      --json                  Print one JSON object
      --device <DEVICE>       Where to compute: auto, cpu, cuda or cuda:N [default: auto]
      --dtype <DTYPE>         Number format: auto, f32, bf16 or f16 [default: auto]
  -h, --help                  Print help

Examples:
  othink eval --task synth-vc
  othink eval --task synth-vc --model runs/quickstart/checkpoints/step-000100 --against tiny
  othink eval --task superclevr --model Qwen/Qwen2-VL-2B-Instruct --data superclevr --json

"#]]);
}

#[test]
fn infer_help_says_how_to_ask() {
    othink(&["infer", "--help"]).code(0).stderr_eq("").stdout_eq(str![[r#"
Answer one question, greedily unless a temperature is given

Usage: othink infer [OPTIONS] --model <PATH> <--prompt <TEXT>|--messages <FILE>>

Options:
      --model <PATH>            A model folder, a hub id or tiny
      --image <FILE>            An image file, put before the prompt; may be repeated
      --prompt <TEXT>           The question
      --system <TEXT>           The system message [default: the chat template's own]
      --messages <FILE>         A whole chat in Hugging Face's format, images by path
      --max-new-tokens <N>      Cut the answer off at that many tokens [default: 256]
      --temperature <X>         Sample, with logits divided by this, rather than take the likeliest
                                token
      --top-k <N>               Sample among that many likeliest tokens
      --top-p <X>               Sample among the likeliest tokens that together reach this
                                probability
      --seed <N>                Every random number is a function of it [default: 42]
      --repetition-penalty <X>  Divide the positive logits of tokens that have been seen and
                                multiply the negative ones. Of a checkpoint's generation
                                configuration the stop tokens alone are read; that of Qwen2.5-VL
                                says 1.05 here, which transformers applies [default: 1]
      --dump <FILE>             Write ids, positions, pixels, logits and the answer's ids to this
                                safetensors file
      --json                    Print one JSON object
      --device <DEVICE>         Where to compute: auto, cpu, cuda or cuda:N [default: auto]
      --dtype <DTYPE>           Number format: auto, f32, bf16 or f16 [default: auto]
      --min-pixels <N>          Enlarge images with fewer pixels [default: the checkpoint's]
      --max-pixels <N>          Shrink images with more pixels [default: the checkpoint's]
  -h, --help                    Print help

Examples:
  othink infer --model Qwen/Qwen2-VL-2B-Instruct --image a.png --prompt "How many items?"
  othink infer --model runs/quickstart/checkpoints/step-000100 --messages chat.json --json
  othink infer --model tiny --image a.png --prompt "How many items?" --temperature 1 --seed 7

"#]]);
}

#[test]
fn unknown_command_is_code_2_with_the_nearest_one() {
    othink(&["trian"]).code(2).stdout_eq("").stderr_eq(str![[r#"
error: unrecognized subcommand 'trian'

  tip: a similar subcommand exists: 'train'

Usage: othink <COMMAND>

For more information, try '--help'.

"#]]);
}

#[test]
fn missing_run_file_is_code_2_and_lists_what_was_tried() {
    othink(&["train", "--config", "quickstrat.toml"]).code(2).stdout_eq("").stderr_eq(str![[r#"
error: no run file `quickstrat.toml`: tried quickstrat.toml, configs/quickstrat.toml, then the built-in ones
hint: did you mean `quickstart.toml`, which is built in?

"#]]);
}

#[test]
fn unknown_key_is_code_2_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), "[grpo]\ngroup_sise = 4\n").unwrap();
    run_in(folder.path(), &["train", "--config", "run.toml"]).code(2).stdout_eq("").stderr_eq(
        str![[r#"
error: run.toml:2: unknown key `grpo.group_sise`
hint: did you mean `grpo.group_size`?

"#]],
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing may be written");
}

#[test]
fn name_of_another_trainer_is_code_2_with_the_key_that_it_is_here() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), "method = \"grpo\"\nnum_generations = 8\n")
        .unwrap();
    run_in(folder.path(), &["train", "--config", "run.toml"]).code(2).stdout_eq("").stderr_eq(
        str![[r#"
error: run.toml:2: unknown key `num_generations`
hint: here: `grpo.group_size`

"#]],
    );
    let set = "grpo.max_completion_length=512";
    othink(&["train", "--config", "quickstart.toml", "--set", set])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: --set grpo.max_completion_length=512: unknown key `grpo.max_completion_length`
hint: here: `rollout.max_new_tokens`

"#]]);
}

#[test]
fn run_file_that_is_not_toml_is_code_2_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("run.toml"), "[data]\ntask = synth-vc\n").unwrap();
    run_in(folder.path(), &["train", "--config", "run.toml"]).code(2).stdout_eq("").stderr_eq(
        str![[r#"
error: run.toml:2: not valid TOML: string values must be quoted, expected literal string
hint: one `key = value` a line, text in double quotes, sections in [brackets]

"#]],
    );
}

#[test]
fn wrong_override_is_code_2_and_named_as_it_was_given() {
    othink(&["train", "--config", "quickstart.toml", "--set", "grpo.group_size=many"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: --set grpo.group_size=many: grpo.group_size: found string "many", expected a whole number of at least 0
hint: the default is grpo.group_size = 8

"#]]);
    othink(&["train", "--config", "quickstart.toml", "--set", "grpo.group_size=1"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: --set grpo.group_size=1: grpo.group_size is 1, expected a whole number from 2 to 65536
hint: advantages compare the completions of a group with each other; 8 is usual

"#]]);
}

#[test]
fn folder_in_use_is_code_2_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let notes = folder.path().join("runs/quickstart/notes.txt");
    std::fs::create_dir_all(notes.parent().unwrap()).unwrap();
    std::fs::write(&notes, "mine").unwrap();
    run_in(folder.path(), &["train", "--config", "quickstart.toml"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: output folder runs/quickstart holds "notes.txt", expected a new or empty one
hint: give another --out

"#]]);
    assert_eq!(std::fs::read_to_string(notes).unwrap(), "mine");
}

#[test]
fn wrong_device_is_code_2_with_the_choices() {
    othink(&["eval", "--task", "synth-vc", "--device", "gpu"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: invalid value 'gpu' for '--device <DEVICE>': `gpu` is not a device, expected auto, cpu, cuda or cuda:N

For more information, try '--help'.

"#]]);
}

#[test]
fn question_both_as_prompt_and_as_chat_is_code_2() {
    othink(&["infer", "--model", "tiny", "--prompt", "Hi", "--messages", "chat.json"])
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: the argument '--prompt <TEXT>' cannot be used with '--messages <FILE>'

Usage: othink infer --model <PATH> <--prompt <TEXT>|--messages <FILE>>

For more information, try '--help'.

"#]]);
}

#[test]
fn wrong_log_filter_is_code_2() {
    Command::new(cargo_bin!("othink"))
        .args(["eval", "--task", "synth-vc"])
        .env("OTHINK_LOG", "othink=loud")
        .assert()
        .code(2)
        .stdout_eq("")
        .stderr_eq(str![[r#"
error: OTHINK_LOG=othink=loud: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5
hint: for example OTHINK_LOG=info, or OTHINK_LOG=othink::train=debug

"#]]);
}
