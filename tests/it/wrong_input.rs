//! Wrong input of every kind, as a user meets it: exit code, message, and nothing written.
//! `SNAPSHOTS=overwrite cargo test --test it` rewrites the expected texts; read the difference.
//! Not here: input made to exhaust memory, time or a terminal (`hostile_input`); wrong flags and run files that need no model to be refused (`cli`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use snapbox::IntoData;
use snapbox::cmd::{Command, cargo_bin};
use snapbox::str;

/// A folder to work in, with the micro checkpoint in `policy` and a picture in `square.png`.
pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::of(&crate::golden::folder().join("policy"))
    }

    /// With another checkpoint.
    pub(crate) fn of(checkpoint: &Path) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(folder.path("policy")).unwrap();
        for entry in std::fs::read_dir(checkpoint).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.path("policy").join(entry.file_name())).unwrap();
        }
        let picture = crate::golden::folder().join("images/square.png");
        std::fs::copy(picture, folder.path("square.png")).unwrap();
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), contents).unwrap();
    }

    /// Replaces the one place where `from` stands in a text file.
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from}");
        self.write(name, text.replace(from, to));
    }

    /// Every file below the folder, with its bytes.
    fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.0.path(), &mut files);
        files
    }

    /// Runs a command line that must be refused with code 2 and this message, and must write nothing.
    pub(crate) fn refuses(&self, line: &str, message: impl IntoData) {
        let before = self.contents();
        Command::new(cargo_bin!("othink"))
            .args(line.split_whitespace())
            .current_dir(self.0.path())
            .env_remove("OTHINK_LOG")
            .assert()
            .code(2)
            .stdout_eq("")
            .stderr_eq(message);
        assert!(self.contents() == before, "{line}: files were written, changed or removed");
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else {
            files.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
}

pub(crate) const ASK: &str =
    "infer --model policy --prompt Hi --max-new-tokens 2 --dump out.safetensors";
pub(crate) const MEASURE: &str =
    "eval --model policy --limit 2 --max-new-tokens 2 --out answers.jsonl";
pub(crate) const TRAIN: &str = "train --config run.toml --out run";
pub(crate) const RUN_FILE: &str = "[model]\npath = \"policy\"\n[data]\ntask = \"synth-vc\"\n\
                        [rollout]\nmax_new_tokens = 2\n[train]\nupdates = 1\n";

#[test]
fn right_input_is_accepted_and_leaves_files() {
    let folder = Folder::new();
    folder.write("run.toml", RUN_FILE);
    for (line, trace) in [
        (format!("{ASK} --image square.png"), "out.safetensors"),
        (format!("{MEASURE} --task synth-vc"), "answers.jsonl"),
        (TRAIN.to_owned(), "run/checkpoints/step-000001/model.safetensors"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_othink"));
        let output = command.args(line.split_whitespace()).current_dir(folder.0.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(folder.path(trace).is_file(), "{line}");
    }
}

#[test]
fn missing_file_is_named() {
    let folder = Folder::new();
    folder.refuses(
        &format!("{ASK} --image no.png"),
        str![[r#"
error: no.png: cannot be read: [..]
hint: check the path and its permissions

"#]],
    );
    folder.refuses(
        &format!("{MEASURE} --data no.jsonl"),
        str![[r#"
error: --data no.jsonl: no such file or folder
hint: relative paths start at the working folder

"#]],
    );
    folder.refuses(
        "infer --model nowhere --prompt Hi",
        str![[r#"
error: model "nowhere" not found: no such folder, and not a hub id `org/name`
hint: give `tiny`, a model folder, or a hub id such as Qwen/Qwen2-VL-2B-Instruct

"#]],
    );
    folder.refuses(
        "infer --model policy --messages no.json",
        str![[r#"
error: --messages no.json: cannot be read: [..]
hint: relative paths start at the working folder

"#]],
    );
    std::fs::remove_file(folder.path("policy/model.safetensors")).unwrap();
    folder.refuses(ASK, str![[r#"
error: policy/model.safetensors: no such file, expected the model's tensors, here or in shards that model.safetensors.index.json lists
hint: only safetensors checkpoints are read; .bin and .gguf files are not

"#]]);
}

#[test]
fn unknown_key_is_named_with_its_line_and_the_nearest_key() {
    let folder = Folder::new();
    folder.write("run.toml", RUN_FILE.replace("max_new_tokens", "max_new_token"));
    folder.refuses(
        TRAIN,
        str![[r#"
error: run.toml:6: unknown key `rollout.max_new_token`
hint: did you mean `rollout.max_new_tokens`?

"#]],
    );
}

#[test]
fn unknown_task_is_answered_with_those_there_are() {
    let folder = Folder::new();
    folder.refuses(
        &format!("{MEASURE} --task synth_vc"),
        str![[r#"
error: unknown task `synth_vc`, expected one of synth-vc, synth-gr, vc, superclevr, gr, geoqa
hint: did you mean `synth-vc`?

"#]],
    );
    folder.refuses(
        &format!("{MEASURE} --task synth-vc --split validation"),
        str![[r#"
error: unknown split `validation`, expected train, test or shifted
hint: `test` holds rows like the training rows, `shifted` rows that look different

"#]],
    );
    folder.write("run.toml", RUN_FILE.replace("synth-vc", "cats"));
    folder.refuses(
        TRAIN,
        str![[r#"
error: unknown task `cats`, expected one of synth-vc, synth-gr, vc, superclevr, gr, geoqa
hint: for data of your own, name the nearest task and pass the file with --data

"#]],
    );
}

#[test]
fn truncated_weights_are_refused_before_anything_is_computed() {
    let folder = Folder::new();
    let weights = std::fs::read(folder.path("policy/model.safetensors")).unwrap();
    folder.write("policy/model.safetensors", &weights[..weights.len() / 2]);
    folder.write("run.toml", RUN_FILE);
    folder.refuses(ASK, str![[r#"
error: policy/model.safetensors: not a whole safetensors file of 653628 bytes: its header promises 1300480 bytes of numbers and 646852 follow
hint: the download or copy was probably cut short; fetch the file again

"#]]);
    folder.refuses(&format!("{MEASURE} --task synth-vc"), str![[r#"
error: policy/model.safetensors: not a whole safetensors file of 653628 bytes: its header promises 1300480 bytes of numbers and 646852 follow
hint: the download or copy was probably cut short; fetch the file again

"#]]);
    folder.refuses(TRAIN, str![[r#"
error: policy/model.safetensors: not a whole safetensors file of 653628 bytes: its header promises 1300480 bytes of numbers and 646852 follow
hint: the download or copy was probably cut short; fetch the file again

"#]]);
}

#[test]
fn tokenizer_without_the_special_tokens_is_refused() {
    let folder = Folder::new();
    folder.edit("policy/tokenizer.json", "<|image_pad|>", "<|picture|>");
    folder.write("run.toml", RUN_FILE);
    folder.refuses(
        ASK,
        str![[r#"
error: policy/tokenizer.json: no token <|image_pad|>, which a Qwen2-VL tokenizer has
hint: this is the tokenizer of another model; take the one of the checkpoint

"#]],
    );
    folder.refuses(
        &format!("{MEASURE} --task synth-vc"),
        str![[r#"
error: policy/tokenizer.json: no token <|image_pad|>, which a Qwen2-VL tokenizer has
hint: this is the tokenizer of another model; take the one of the checkpoint

"#]],
    );
    folder.refuses(
        TRAIN,
        str![[r#"
error: policy/tokenizer.json: no token <|image_pad|>, which a Qwen2-VL tokenizer has
hint: this is the tokenizer of another model; take the one of the checkpoint

"#]],
    );
}

#[test]
fn unreadable_image_is_named() {
    let folder = Folder::new();
    let picture = std::fs::read(folder.path("square.png")).unwrap();
    folder.write("words.png", "not a picture");
    folder.write("half.png", &picture[..picture.len() / 2]);
    folder.refuses(
        &format!("{ASK} --image square.png --image words.png"),
        str![[r#"
error: words.png: not an image this program reads
hint: use PNG, JPEG, WebP, GIF, BMP or TIFF

"#]],
    );
    folder.refuses(
        &format!("{ASK} --image half.png"),
        str![[r#"
error: half.png: cannot decode this PNG image: unexpected end of file
hint: the file may be cut short or damaged; copy it again

"#]],
    );
    folder.write("rows.jsonl", "{\"image\":\"half.png\",\"problem\":\"?\",\"solution\":\"1\"}\n");
    folder.refuses(
        &format!("{MEASURE} --data rows.jsonl"),
        str![[r#"
error: sample rows.jsonl:1: half.png: cannot decode this PNG image: unexpected end of file
hint: the file may be cut short or damaged; copy it again

"#]],
    );
}

#[test]
fn image_of_more_than_100_megapixels_is_refused_by_its_header() {
    let folder = Folder::new();
    folder.write("huge.png", png_header(10_001, 10_000));
    folder.refuses(
        &format!("{ASK} --image huge.png"),
        str![[r#"
error: huge.png: 10001 x 10000 pixels, expected at most 100 megapixels
hint: scale it down first; the model sees at most max_pixels of it anyway

"#]],
    );
}

/// A PNG that ends where its pixels would begin.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let size = [width.to_be_bytes(), height.to_be_bytes()].concat();
    let rgb_8_bit = [8, 2, 0, 0, 0];
    let chunks = [[b"IHDR".as_slice(), &size, &rgb_8_bit].concat(), b"IDAT".to_vec()];
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in chunks {
        png.extend((chunk.len() as u32 - 4).to_be_bytes());
        png.extend(&chunk);
        png.extend(crc32(&chunk).to_be_bytes());
    }
    png
}

/// PNG's checksum, bit by bit (RFC 2083, appendix 15).
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
    let table = |crc: u32| (0..8).fold(crc, |crc, _| step(crc));
    !bytes.iter().fold(u32::MAX, |crc, byte| table((crc ^ u32::from(*byte)) & 0xFF) ^ (crc >> 8))
}

#[test]
fn row_without_a_solution_is_named_by_file_line_and_field() {
    let folder = Folder::new();
    folder.write(
        "rows.jsonl",
        "{\"image\":\"square.png\",\"problem\":\"How many?\",\"solution\":\"1\"}\n\
         {\"image\":\"square.png\",\"problem\":\"How many?\"}\n",
    );
    folder.write("run.toml", RUN_FILE.replace("task = \"synth-vc\"", "train = \"rows.jsonl\""));
    folder.refuses(&format!("{MEASURE} --data rows.jsonl"), str![[r#"
error: rows.jsonl: line 2: field `solution` or `ground_truth` or `answer`: found nothing among the fields [image, problem], expected the right answer as text or a number
hint: rewards compare with it: `"solution": "<answer> 7 </answer>"` or `7`

"#]]);
    folder.refuses(TRAIN, str![[r#"
error: rows.jsonl: line 2: field `solution` or `ground_truth` or `answer`: found nothing among the fields [image, problem], expected the right answer as text or a number
hint: rewards compare with it: `"solution": "<answer> 7 </answer>"` or `7`

"#]]);
}

#[test]
fn output_folder_in_use_is_left_as_it_is() {
    let folder = Folder::new();
    folder.write("run.toml", RUN_FILE);
    std::fs::create_dir(folder.path("run")).unwrap();
    folder.write("run/notes.txt", "mine");
    folder.refuses(
        TRAIN,
        str![[r#"
error: output folder run holds "notes.txt", expected a new or empty one
hint: give another --out

"#]],
    );
    folder.refuses(
        "eval --task synth-vc --model policy --out run",
        str![[r#"
error: --out run: found a folder, expected a file
hint: name a file in it

"#]],
    );
    folder.refuses(
        "infer --model policy --prompt Hi --dump run",
        str![[r#"
error: --dump run: found a folder, expected a file
hint: name a file in it

"#]],
    );
}

#[test]
fn answer_that_does_not_fit_the_models_positions_is_refused() {
    let folder = Folder::new();
    let ask = "infer --model policy --prompt Hi --max-new-tokens 4096 --dump out.safetensors";
    folder.refuses(
        ask,
        str![[r#"
error: 33 prompt tokens and 4096 new ones exceed the model's 4096 positions
hint: lower --max-new-tokens, or --max-pixels where there are images

"#]],
    );
}
