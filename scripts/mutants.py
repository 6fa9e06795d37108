#!/usr/bin/env python3
"""Changes files in every way that cargo-mutants knows, one change at a time, and lists the changes that no test catches.

    scripts/mutants.py OUT FILE...     OUT: a folder for the work and the lists; FILE: such as src/grpo/kl.rs

Needs cargo-mutants (`cargo install cargo-mutants`), which would build the program once for each mutant. Here all of them are
planted at once, each behind its number (scripts/mutants/): one build, then every test once, to see which mutants it
reaches, then each mutant against the tests that reach it, the quickest first, until one fails. The few that cannot be planted
are built one by one. Run again at the same commit, it goes on; OUT/outcomes.json has every mutant, OUT/table.md the table of docs/testing.md.
"""

import concurrent.futures
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
HOOK = """
#[doc(hidden)]
#[allow(missing_docs)]
pub fn planted(point: usize) -> u32 {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, Ordering};
    static SETTINGS: OnceLock<(u32, Option<String>)> = OnceLock::new();
    static REACHED: [AtomicBool; 10_000] = [const { AtomicBool::new(false) }; 10_000];
    let variable = |name| std::env::var(name).ok();
    let (on, reached) = SETTINGS.get_or_init(|| {
        (variable("MUTANT").and_then(|id| id.parse().ok()).unwrap_or(0), variable("MUTANT_POINTS"))
    });
    if let Some(path) = reached && !REACHED[point].swap(true, Ordering::Relaxed) {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        file.write_all(format!("{point}\\n").as_bytes()).unwrap();
    }
    *on
}
"""


def run(words, folder, **more):
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, **more)


def need(done):
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, done.args))}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done


def messages(done):
    """What cargo says as JSON."""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


class Work:
    def __init__(self, out, files):
        self.out, self.clone = out, out / "clone"
        out.mkdir(parents=True, exist_ok=True)
        if not self.clone.exists():
            need(run(["git", "clone", "--quiet", PROJECT, self.clone], out))
        need(run(["git", "checkout", "--quiet", "."], self.clone))
        need(run(["git", "pull", "--quiet"], self.clone))
        selected = [word for file in files for word in ("--file", file)]
        listed = need(run(["cargo", "mutants", "--list", "--json", *selected], self.clone))
        (out / "mutants.json").write_text(listed.stdout)
        self.mutants = json.loads(listed.stdout)
        self.outcomes_file = out / "outcomes.json"
        self.forget_other_code()
        self.outcomes = json.loads(self.outcomes_file.read_text()) if self.outcomes_file.exists() else {}
        self.lock = threading.Lock()

    def forget_other_code(self):
        """Outcomes hold for the commit that they were found at."""
        commit = need(run(["git", "rev-parse", "HEAD"], self.clone)).stdout
        known = self.out / "commit"
        if self.outcomes_file.exists() and (not known.exists() or known.read_text() != commit):
            print("the project has changed: all mutants are tried anew", flush=True)
            self.outcomes_file.unlink()
        known.write_text(commit)

    def name(self, number):
        return self.mutants[number - 1]["name"]

    def tell(self, number, outcome, by=""):
        with self.lock:
            self.outcomes[self.name(number)] = [outcome, by]
            self.outcomes_file.write_text(json.dumps(self.outcomes, indent=0))
            print(f"{len(self.outcomes)}/{len(self.mutants)} {outcome:8} {self.name(number)}", flush=True)

    def plant(self, planter, left_out):
        need(run(["git", "checkout", "--quiet", "."], self.clone))
        (self.out / "left_out.json").write_text(json.dumps(sorted(left_out)))
        words = [planter, self.out / "mutants.json", self.clone, self.out / "left_out.json"]
        planted = json.loads(need(run(words, self.out)).stdout)
        library = self.clone / "src/lib.rs"
        library.write_text(library.read_text() + HOOK)
        return planted

    def plant_what_compiles(self):
        """Plants, and leaves out what the compiler refuses until it refuses nothing."""
        target = self.out / "planter"
        manifest = PROJECT / "scripts/mutants/Cargo.toml"
        need(run(["cargo", "build", "--release", "--manifest-path", manifest, "--target-dir", target], self.out))
        left_out = {n for n in range(1, len(self.mutants) + 1) if self.name(n) in self.outcomes}
        while True:
            planted = self.plant(target / "release/plant-mutants", left_out)
            for number in planted["unviable"]:
                self.tell(number, "unviable")
            left_out |= set(planted["unviable"])
            checked = run(["cargo", "check", "--locked", "--lib", "--message-format", "json"], self.clone)
            if checked.returncode == 0:
                return planted
            refused = set()
            for said in messages(checked):
                if said.get("reason") == "compiler-message" and said["message"]["level"] == "error":
                    for span in said["message"]["spans"]:
                        for number, (file, start, end) in planted["texts"].items():
                            if span["file_name"] == file and start <= span["byte_start"] < end:
                                refused.add(int(number))
            if not refused:
                sys.exit(f"cargo check fails outside the mutants:\n{checked.stderr[-4000:]}")
            for number in refused:
                self.tell(number, "unviable")
            left_out |= refused


class Tests:
    """The tests of the library and of tests/it, each by itself."""

    def __init__(self, folder):
        self.folder = folder
        done = need(run(["cargo", "test", "--no-run", "--locked", "--message-format", "json"], folder))
        built = [said for said in messages(done) if said.get("executable") and said["profile"]["test"]]
        self.programs = {
            said["target"]["name"]: said["executable"]
            for said in built
            if said["target"]["name"] in ("othink", "it") and said["target"]["kind"] != ["bin"]
        }

    def run(self, program, names, settings, limit_s):
        """The exit code, or None past the limit; the seconds; what was printed."""
        settings = {**os.environ, "CARGO_MANIFEST_DIR": str(self.folder), "RUST_BACKTRACE": "0", **settings}
        began = time.time()
        words = [self.programs[program], "--exact", *names]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        child = subprocess.Popen(words, cwd=self.folder, env=settings, start_new_session=True, **pipe)
        try:
            said, _ = child.communicate(timeout=limit_s)
            return child.returncode, time.time() - began, said
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            return None, time.time() - began, ""

    def reached(self, out, n_threads):
        """For each point, the tests that reach it as (seconds, program, name)."""
        names = []
        for program, path in self.programs.items():
            said = need(run([path, "--list"], self.folder)).stdout
            names += [(program, line[:-6]) for line in said.splitlines() if line.endswith(": test")]

        def reach(test):
            points = out / "points" / "-".join(test).replace("::", ".")
            points.unlink(missing_ok=True)
            code, seconds, _ = self.run(test[0], [test[1]], {"MUTANT_POINTS": str(points)}, 600)
            found = {int(line) for line in points.read_text().split()} if points.exists() else set()
            return seconds, *test, found if code == 0 else set()

        (out / "points").mkdir(exist_ok=True)
        by_point = {}
        with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
            for seconds, program, name, points in pool.map(reach, names):
                for point in points:
                    by_point.setdefault(point, []).append((seconds, program, name))
        return by_point


def try_mutant(tests, number, reached, longest_s):
    """Tests in groups of about a second, the quickest first."""
    left = sorted(test for test in reached if test[0] < longest_s)
    while left:
        group = [left.pop(0)]
        while left and left[0][1] == group[0][1] and sum(t[0] for t in group) + left[0][0] < 1.5:
            group.append(left.pop(0))
        limit = max(25, 8 * sum(test[0] for test in group))
        code, _, said = tests.run(group[0][1], [test[2] for test in group], {"MUTANT": str(number)}, limit)
        if code is None:
            return "caught", f"{group[0][2]} (never ends)"
        if code != 0:
            failed = re.findall(r"^test ([\w:]+) \.\.\. FAILED", said, re.M)
            return "caught", (failed or [group[0][2]])[0]
    return "missed", ""


def build_and_try(work, number):
    """A mutant that cannot be planted, in a build of its own."""
    need(run(["git", "checkout", "--quiet", "."], work.clone))
    diff = work.out / "one.diff"
    diff.write_text(work.mutants[number - 1]["diff"].replace("+++ ", "+++ b/", 1))
    lines = diff.read_text().splitlines(keepends=True)
    lines[1] = lines[0].replace("---", "+++")
    diff.write_text("".join(lines))
    need(run(["patch", "--quiet", "-p0", "-i", diff], work.clone))
    if run(["cargo", "check", "--locked", "--lib"], work.clone).returncode != 0:
        return "unviable", ""
    done = run(["cargo", "test", "--locked", "--lib", "--test", "it"], work.clone)
    failed = re.findall(r"^test ([\w:]+) \.\.\. FAILED", done.stdout, re.M)
    return ("missed", "") if done.returncode == 0 else ("caught", (failed or [""])[0])


def write_table(work):
    counts = {}
    for mutant in work.mutants:
        counts.setdefault(mutant["file"], Counter())[work.outcomes[mutant["name"]][0]] += 1
    total = sum(counts.values(), Counter())
    lines = ["| file | made | caught | unviable | missed |", "|---|---|---|---|---|"]
    for file, of in [*counts.items(), ("all", total)]:
        name = f"`{file}`" if file != "all" else "all"
        lines.append(f"| {name} | {of.total()} | {of['caught']} | {of['unviable']} | {of['missed']} |")
    missed = [mutant["name"] for mutant in work.mutants if work.outcomes[mutant["name"]][0] == "missed"]
    (work.out / "table.md").write_text("\n".join([*lines, "", *(f"- {name}" for name in missed), ""]))
    print((work.out / "table.md").read_text())


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    work = Work(Path(sys.argv[1]).resolve(), sys.argv[2:])
    planted = work.plant_what_compiles()
    tests = Tests(work.clone)
    n_threads = max(2, (os.cpu_count() or 2) // 2)
    by_point = tests.reached(work.out, n_threads)
    points = {number: point for point, numbers in enumerate(planted["points"]) for number in numbers}
    longest_s = float(os.environ.get("LONGEST_S", "40"))

    def settle(number):
        work.tell(number, *try_mutant(tests, number, by_point.get(points[number], []), longest_s))

    with concurrent.futures.ThreadPoolExecutor(n_threads) as pool:
        list(pool.map(settle, sorted(number for number in points if work.name(number) not in work.outcomes)))
    for number in planted["apart"]:
        work.tell(number, *build_and_try(work, number))
    write_table(work)


main()
