#!/usr/bin/env bash
# Makes the first inputs of each reader in fuzz/readers: small files of the golden ones, and one line or two where none is small.
# Inputs that once made a reader fail are beside them, named after what they broke; this script leaves those alone.
#   scripts/make_fuzz_corpus.sh
set -euo pipefail
cd "$(dirname "$0")/.."
corpus=fuzz/corpus

put() { mkdir -p "$corpus/$1"; cat >"$corpus/$1/$2"; }
take() { mkdir -p "$corpus/$1"; cp "$2" "$corpus/$1/${3:-$(basename "$2")}"; }

metrics='{"update":1,"beta":0.04,"lr":1e-6,"loss":"NaN","reward":null,"reward_components":{"a":0.5},"completion_length":12.5,"grad_norm":"Infinity","tokens_per_s":10.0,"s_rollout":0.1,"s_reference":0.1,"s_policy":0.1,"s_optimizer":0.1,"s_total":0.5,"peak_bytes":1}'
completion='{"update":1,"prompt_id":"a:1","completion_idx":0,"problem":"1+1?","solution":"2","completion":"<answer>2</answer>","answer":"2","accuracy_reward":1.0,"format_reward":0.0,"components":{},"reward":1.0,"advantage":0.5,"n_tokens":3,"token_ids":[1,2,3],"is_truncated":false}'
printf '%s\n%s\n' "$metrics" "${metrics/\"update\":1/\"update\":2}" | put metrics two
printf '%s\n%s\n' "$completion" "${completion/\"completion_idx\":0/\"completion_idx\":1}" | put completions two
printf '%s\n' "$completion" | put recording one
printf '{"update":0,"summary":{"task":"t","n":4,"rule":"answer-tag","correct":3,"accuracy":0.75,"ci95":[0.3,0.95],"answer_tag":{"correct":3,"accuracy":0.75,"ci95":[0.3,0.95]},"ungraded":0,"format_rate":1.0,"components":{"length":{"mean":0.5,"ci95":[0.1,0.9]}},"truncated_fraction":0.0,"completion_length":10.0}}\n' | put evaluations one
{ printf '\x02\x01%s\n%s\n\0' "$metrics" "${metrics/\"update\":1/\"update\":2}"; for update in 1 2; do for idx in 0 1; do
  printf '%s\n' "$completion" | sed "s/\"update\":1/\"update\":$update/; s/\"completion_idx\":0/\"completion_idx\":$idx/"; done; done; } | put resume whole
{ printf '\x01\x02%s\n' "$metrics"; printf '{"update":1'; } | put resume cut
printf '{"format":1,"files":{"config.json":{"bytes":2,"crc32":"00000000"},"trainer/progress.json":{"bytes":9,"crc32":"1a2b3c4d"}}}' | put manifest two
printf '{"contents":{"rows":"a","base":"b"},"changes":[{"after_update":3,"changed":[{"key":"rows","stored":"a","given":"c"}]}]}' | put origin changed

for config in configs/*.toml; do
  [ "$(wc -c <"$config")" -gt 2500 ] || take run_file "$config"
done
printf 'method = "grpo"\n\0kl.schedule=constant\0grpo.group_size=4\0optim.lr=1e-5' | put run_file overrides
printf '[reward]\ncommand = ["a", "b"]\n\0train.updates=3\0rollout.top_p=0.5' | put run_file reward

take model_config assets/tiny/config.json tiny
take model_config assets/published/Qwen2-VL-2B.json qwen2-vl-2b
for family in qwen2_5_vl qwen3_vl; do
  take model_config "tests/golden/families/$family/tied/config.json" "$family"
  take preprocessor "tests/golden/families/$family/tied/preprocessor_config.json" "$family"
done
take preprocessor assets/tiny/preprocessor_config.json tiny
take tokenizer_config assets/tiny/tokenizer_config.json tiny
take tokenizer assets/tiny/tokenizer.json tiny
take template assets/tiny/chat_template.json as-json
python3 - "$corpus" <<'PY'
import json, pathlib, struct, sys, zipfile, zlib, io
corpus = pathlib.Path(sys.argv[1])
def put(name, file, contents):
    (corpus / name).mkdir(parents=True, exist_ok=True)
    (corpus / name / file).write_bytes(contents)
template = json.load(open("assets/tiny/chat_template.json"))["chat_template"]
put("template", "tiny", template.encode())
def tensors(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data
one = {"model.norm.weight": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}
put("safetensors", "one", tensors(one, bytes(8)))
put("safetensors", "two", tensors({"__metadata__": {"format": "pt"}, **one,
    "lm_head.weight": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]}}, bytes(12)))
put("safetensors_index", "one", json.dumps({"metadata": {"total_size": 8},
    "weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}).encode())
for method, name in [(zipfile.ZIP_STORED, "stored"), (zipfile.ZIP_DEFLATED, "deflated")]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        for entry in ["a.txt", "folder/b.txt"]:
            info = zipfile.ZipInfo(entry, (2020, 1, 1, 0, 0, 0))
            info.compress_type = method
            file.writestr(info, b"text " * 20)
    put("zip", name, archive.getvalue())
PY
take image tests/golden/micro/images/dot.png
take image tests/golden/micro/images/palette.png
take image tests/golden/micro/images/gray.png
take image tests/golden/micro/images/la.png
take parquet tests/golden/datasets/named/train.parquet named
take parquet tests/golden/datasets/bad/train.parquet bad
take csv tests/golden/datasets/folder/train/metadata.csv folder
printf 'problem,solution,image\n"How many,\nin all?",7,\n1+1?,2,a.png\n' | put csv quoted
printf '{"problem":"How many?","solution":"<answer> 7 </answer>"}\n{"question":"1+1?","ground_truth":2,"image":"a.png"}\n\n{"problem":"a","solution":"b","completion":"<think>c</think>"}\n' | put json_lines four
printf '[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"image","image":"a.png"},{"type":"text","text":"How many? <|im_end|>"}]}]' | put chat two
printf '{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"file:///b.png"}},{"text":"\\u0000"}]}]}' | put chat object
printf '\\frac{1}{2}\0<think>a</think><answer>0.5</answer>' | put grading fraction
printf '<answer> 3\\pi </answer>\0x^2+3\\sqrt{2}, 50\\%%' | put grading roots
printf 'B\0the answer is (B)' | put grading choice
printf '{"id":"a:1","row":0,"sample_idx":0,"problem":"1+1?","solution":"2","completion":"<answer>2</answer>","answer":"2","accuracy":1.0,"answer_tag":1.0,"format":0.0,"components":{"length":-0.5},"reason":"equal","is_graded":true,"n_tokens":3,"is_truncated":false}\n' | put answers one
printf '{}\n{"completion":"a","solution":"b"}\n' | put answers list
printf 'a\x1b[31m\r\xc2\x9b2J\xe2\x80\xaeb\tc\n\xff' | put printable steering
printf '{"a":"\\u001b[0m\\u202e\\n","b":[1.5,null]}' | put printable json
