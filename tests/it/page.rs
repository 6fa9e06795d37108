//! The page of `othink report` in a browser: what it shows, what its filters leave, and that text stays text.
//! Not here: keys, pointer and small screens (`page_access`); its size (`page_size`); the command's flags and errors (`report`); the
//! page while a run goes on (`watch`); the browser (`chromium`).

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::recorded::{self, SMALL};

/// Makes the page of runs; its path.
pub(crate) fn report(folder: &Path, words: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    let output = command.arg("report").args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("report.html")
}

pub(crate) fn address(page: &Path) -> String {
    format!("file://{}", page.display())
}

/// A browser with the page of a small run, and the run's rollouts; nothing where there is no browser.
pub(crate) fn opened(folder: &Path) -> Option<(Chromium, Vec<Value>)> {
    let mut browser = Chromium::start()?;
    let (_, rollouts) = recorded::run(&folder.join("quick"), 1, SMALL);
    browser.open(&address(&report(folder, &["quick"])));
    Some((browser, rollouts))
}

/// Sets a control of the browser of rollouts as a person does.
pub(crate) fn set(browser: &mut Chromium, id: &str, value: &str) {
    browser.value(&format!(
        "{{ const it = document.getElementById({id:?}); \
         if (it.type === 'checkbox') {{ if (it.checked !== {value:?}.startsWith('on')) it.click(); }} else {{ \
         it.value = {value:?}; it.dispatchEvent(new Event(it.tagName === 'SELECT' ? 'change' : 'input', {{bubbles: true}})); }} 1 }}"
    ));
}

pub(crate) fn found(browser: &mut Chromium) -> String {
    browser.text("document.getElementById('found').textContent")
}

/// An expression for what the legend of a chart shows: `update: 5 quick: 0.001 `.
pub(crate) fn legend(chart: &str) -> String {
    format!(
        "[...document.querySelectorAll('#chart-{chart} .u-series:not(.companion)')].map((row) => \
         row.querySelector('.u-label').textContent + ': ' + row.querySelector('.u-value').textContent + ' ').join('')"
    )
}

/// Update and question of each group in the list.
fn listed(browser: &mut Chromium) -> Vec<String> {
    let listed = browser.value(
        "[...document.querySelectorAll('#groups li')].map((li) => \
         li.querySelector('b').textContent + ' ' + li.querySelector('.question').textContent)",
    );
    listed.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Groups of a run with at least one completion for which `is_wanted` holds, as the list names them, and their completions.
fn expected(
    rollouts: &[Value],
    mut is_wanted: impl FnMut(&[Value], &Value) -> bool,
) -> (Vec<String>, usize) {
    let groups = rollouts.chunks(SMALL.completions as usize);
    let wanted = groups.filter(|group| group.iter().any(|one| is_wanted(group, one)));
    let name = |group: &[Value]| {
        format!("update {} {}", group[0]["update"], group[0]["problem"].as_str().unwrap())
    };
    let (mut names, mut n) = (Vec::new(), 0);
    for group in wanted {
        names.push(name(group));
        n += group.len();
    }
    (names, n)
}

#[test]
fn page_shows_before_and_after_curves_and_rollouts_and_asks_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, rollouts)) = opened(folder.path()) else { return };
    let card = browser.text("document.querySelector('.card').innerText");
    for text in ["22.0% → 47.0%", "12", "0.8 min", "0.5 GB", "grpo-d on synth-vc, seed 1"] {
        assert!(card.contains(text), "{text} is not in {card}");
    }
    // Every chart has ink on its canvas.
    let inked = browser.value(
        "[...document.querySelectorAll('.chart canvas')].map((canvas) => canvas.getContext('2d') \
         .getImageData(0, 0, canvas.width, canvas.height).data.some((part) => part > 0))",
    );
    let inked = inked.as_array().unwrap();
    assert!(inked.len() >= 8 && inked.iter().all(|one| one == true), "{inked:?}");
    let legend =
        browser.text("document.querySelector('#chart-evaluation_accuracy .u-legend').innerText");
    assert!(legend.contains("47 (38 to 56)"), "{legend}");
    let names = listed(&mut browser);
    assert_eq!(names, expected(&rollouts, |_, _| true).0);
    assert_eq!(found(&mut browser), "36 groups with 144 completions");
    browser.wait_for("document.querySelectorAll('#detail .completion').length >= 4");
    browser.wait_for("document.querySelector('#detail img').naturalWidth > 0");
    let texts = browser.value(
        "[...document.querySelectorAll('.completion .text')].slice(0, 4).map((p) => p.textContent)",
    );
    let expected: Vec<&Value> = rollouts[..4].iter().map(|one| &one["completion"]).collect();
    assert_eq!(texts, json!(expected));

    assert_eq!(browser.complaints(), [""; 0]);
    let asked = browser.requests();
    let own = address(&folder.path().join("report.html"));
    assert!(asked.iter().all(|one| *one == own || one.starts_with("data:")), "{asked:?}");
}

#[test]
fn filters_leave_the_right_rollouts() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, rollouts)) = opened(folder.path()) else { return };
    let is_right = |one: &Value| one["accuracy_reward"] == 1.0;
    let mut check = |changes: &[(&str, &str)], is_wanted: &dyn Fn(&[Value], &Value) -> bool| {
        for (id, value) in changes {
            set(&mut browser, id, value);
        }
        let (names, n) = expected(&rollouts, is_wanted);
        assert!(!names.is_empty() && names.len() < 36, "{changes:?} leaves {}", names.len());
        assert_eq!(listed(&mut browser), names, "{changes:?}");
        let found = found(&mut browser);
        assert!(found.ends_with(&format!("with {n} completions")), "{changes:?}: {found}");
        for (id, value) in changes {
            let usual = if id.starts_with("by-") {
                "any"
            } else if *value == "on" {
                "off"
            } else {
                ""
            };
            set(&mut browser, id, usual);
        }
    };
    let update = |one: &Value| one["update"].as_u64().unwrap();
    let reward = |one: &Value| one["reward"].as_f64().unwrap();
    check(&[("from", "5"), ("to", "6")], &|_, one| (5..=6).contains(&update(one)));
    check(&[("by-show", "wrong"), ("from", "7")], &|_, one| !is_right(one) && update(one) >= 7);
    check(&[("by-show", "right")], &|_, one| is_right(one));
    check(&[("by-show", "mixed")], &|group, _| {
        group.iter().any(is_right) && !group.iter().all(is_right)
    });
    check(&[("cut", "on")], &|_, one| one["is_truncated"] == true);
    // A completion that is both, not one that is cut off beside another that is wrong.
    check(&[("cut", "on"), ("by-show", "wrong")], &|_, one| {
        one["is_truncated"] == true && !is_right(one)
    });
    check(&[("silent", "on")], &|group, one| {
        group.iter().all(|other| reward(other).to_bits() == reward(one).to_bits())
    });
    check(&[("low", "1")], &|_, one| reward(one) >= 1.0);
    check(&[("high", "0.9"), ("to", "3")], &|_, one| reward(one) <= 0.9 && update(one) <= 3);
    check(&[("text", "KIND 3")], &|_, one| one["problem"].as_str().unwrap().contains("kind 3"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn most_improved_questions_come_first_and_are_shown_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, rollouts)) = opened(folder.path()) else { return };
    set(&mut browser, "by-order", "improved");
    let mean = |group: &[Value]| {
        group.iter().map(|one| one["reward"].as_f64().unwrap()).sum::<f64>() / group.len() as f64
    };
    let groups: Vec<&[Value]> = rollouts.chunks(SMALL.completions as usize).collect();
    let gain = |row: u64| {
        let of_row: Vec<&&[Value]> = groups
            .iter()
            .filter(|group| group[0]["prompt_id"] == format!("synth-vc/train/{row}"))
            .collect();
        (mean(of_row.last().unwrap()) - mean(of_row[0]), of_row[0][0]["update"].clone())
    };
    let gains = browser.value(
        "[...document.querySelectorAll('#groups .score')].map((score) => \
         Number(score.textContent.split('reward ')[1].replace('−', '-')))",
    );
    let gains: Vec<f64> =
        gains.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    let mut expected: Vec<f64> = (0..SMALL.rows).map(|row| gain(row).0).collect();
    expected.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(gains.len(), expected.len());
    assert!(
        gains.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-9),
        "{gains:?} {expected:?}"
    );
    // The question's first time stands before its last.
    let row = browser.text("document.querySelector('#groups .question').textContent");
    let row: u64 = row.split(' ').find_map(|word| word.parse().ok()).unwrap();
    browser.wait_for("document.querySelectorAll('#detail .moment').length === 2");
    let first = browser.text("document.querySelector('#detail .moment h4').textContent");
    assert!(first.starts_with(&format!("The same question, update {}", gain(row).1)), "{first}");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn answers_before_and_after_training_are_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Chromium::start() else { return };
    recorded::run(&folder.path().join("quick"), 1, SMALL);
    let answer = |id: &str, text: &str, accuracy: f64| {
        json!({
            "id": id, "row": 0, "sample_idx": 0, "problem": "How many?", "solution": "7", "completion": text,
            "answer": text, "accuracy": accuracy, "answer_tag": accuracy, "format": 1.0, "reason": "another number",
            "is_graded": true, "n_tokens": 3, "is_truncated": false,
        })
    };
    let lines = |text: &str, accuracy| {
        ["synth-vc/test/1", "synth-vc/test/2"].map(|id| format!("{}\n", answer(id, text, accuracy)))
    };
    std::fs::write(folder.path().join("before.jsonl"), lines("5", 0.0).concat()).unwrap();
    std::fs::write(folder.path().join("after.jsonl"), lines("7", 1.0).concat()).unwrap();
    let words = ["quick", "--answers", "before.jsonl", "--answers", "after.jsonl"];
    browser.open(&address(&report(folder.path(), &words)));
    set(&mut browser, "by-run", "1");
    assert_eq!(found(&mut browser), "4 groups with 4 completions");
    browser.wait_for("document.querySelectorAll('#detail .moment').length === 2");
    let parts = browser.value(
        "[...document.querySelectorAll('#detail .moment')].map((part) => part.innerText.replace(/\\s+/g, ' '))",
    );
    let (before, after) = (parts[0].as_str().unwrap(), parts[1].as_str().unwrap());
    assert!(before.contains("before.jsonl") && before.contains("✗ wrong 5"), "{before}");
    assert!(after.contains("after.jsonl") && after.contains("✓ right 7"), "{after}");
    assert!(before.contains("another number"), "{before}");
    browser.wait_for("document.querySelector('#detail img').naturalWidth > 0");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn hostile_text_stays_text() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut browser) = Chromium::start() else { return };
    let hostile = "</script><img src=x onerror=\"window.stolen = 1\"><svg onload=\"window.stolen = 1\"> \u{202e}<b>'&amp;";
    let (run, mut rollouts) = recorded::run(&folder.path().join("quick"), 1, SMALL);
    for one in &mut rollouts {
        for field in ["completion", "answer", "problem", "solution", "prompt_id"] {
            one[field] = hostile.into();
        }
        one["components"] = json!({hostile: 1.0});
    }
    std::fs::write(run.join("completions.jsonl"), recorded::lines(&rollouts)).unwrap();
    browser.open(&address(&report(folder.path(), &["quick"])));
    browser.wait_for("document.querySelectorAll('#detail .completion').length >= 4");
    for place in [".completion .text", ".completion .answer", ".ask .problem-text", ".question"] {
        assert_eq!(
            browser.text(&format!("document.querySelector('{place}').textContent")),
            hostile
        );
    }
    assert_eq!(browser.value("document.querySelectorAll('img, svg, main b b').length"), 0);
    assert_eq!(browser.value("window.stolen === undefined"), true);
    // Were a script to make markup of text, the page's own policy would stop it.
    let refused = browser.value("(() => { try { document.body.innerHTML = '<i></i>'; return false; } catch { return true; } })()");
    assert_eq!(refused, true);
}
