//! The page of `othink report` in a browser: what it shows, how it is used, what it must not do, how large it may become.
//! Not here: the command's flags and errors (`report`); the page while a run goes on (`watch`); the browser (`chromium`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};

use crate::chromium::Chromium;
use crate::recorded::{self, SMALL, Size};

/// Makes the page of runs; its path.
fn report(folder: &Path, words: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO_BIN_EXE_othink"));
    let output = command.arg("report").args(words).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder.join("report.html")
}

fn address(page: &Path) -> String {
    format!("file://{}", page.display())
}

/// A browser with the page of a small run, and the run's rollouts; nothing where there is no browser.
fn opened(folder: &Path) -> Option<(Chromium, Vec<Value>)> {
    let mut browser = Chromium::start()?;
    let (_, rollouts) = recorded::run(&folder.join("quick"), 1, SMALL);
    browser.open(&address(&report(folder, &["quick"])));
    Some((browser, rollouts))
}

/// Sets a control of the browser of rollouts as a person does.
fn set(browser: &mut Chromium, id: &str, value: &str) {
    browser.value(&format!(
        "{{ const it = document.getElementById({id:?}); \
         if (it.type === 'checkbox') {{ if (it.checked !== {value:?}.startsWith('on')) it.click(); }} else {{ \
         it.value = {value:?}; it.dispatchEvent(new Event(it.tagName === 'SELECT' ? 'change' : 'input', {{bubbles: true}})); }} 1 }}"
    ));
}

fn found(browser: &mut Chromium) -> String {
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
    for text in ["22.0% → 47.0%", "12", "0.8 min", "0.50 GiB", "grpo-d on synth-vc, seed 1"] {
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
fn charts_show_values_under_the_pointer_zoom_by_dragging_and_obey_keys() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    browser.value("document.querySelector('#chart-kl').scrollIntoView({block: 'center', behavior: 'instant'}), 1");
    let inside = "(() => { const box = document.querySelector('#chart-kl .u-over').getBoundingClientRect(); \
                  return [box.left, box.top, box.width, box.height]; })()";
    let place = browser.value(inside);
    let place: Vec<f64> =
        place.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect();
    let at = |part: f64| [place[0] + part * place[2], place[1] + place[3] / 2.0];
    let legend = legend("kl");
    // Without a pointer, the last figures are shown: 12 updates, from 1 on the left to 12 on the right.
    assert!(browser.text(&legend).contains("update: 12 "), "{}", browser.text(&legend));
    browser.mouse("mouseMoved", at(4.0 / 11.0));
    browser.wait_for(&format!("{legend}.includes('update: 5 ')"));
    let kl = browser.text(&legend);
    // Smoothed with 0.6, debiased: (0.001 * 0.6^4 + 0.002 * 0.6^3 + ... + 0.005) * 0.4 / (1 - 0.6^5).
    let weighted: f64 =
        (1..=5).map(|update| 0.001 * f64::from(update) * 0.6_f64.powi(5 - update)).sum();
    let smoothed = weighted * 0.4 / (1.0 - 0.6_f64.powi(5));
    let shown: f64 = kl.split(' ').rev().find_map(|word| word.parse().ok()).unwrap();
    assert!((shown - smoothed).abs() < 1e-6, "{kl}: {smoothed}");

    // Ticks of the zoomed axis are those of the part that was dragged over; here, what the legend shows at its left end.
    browser.drag(at(0.45), at(0.95));
    browser.mouse("mouseMoved", at(0.01));
    browser.wait_for(&format!("/update: [678] /.test({legend})"));
    // The chart takes keys: 0 shows all again.
    browser.value("document.querySelector('#chart-kl .plot').focus(), 1");
    browser.press("0");
    browser.mouse("mouseMoved", at(0.01));
    browser.wait_for(&format!("{legend}.includes('update: 1 ')"));
    browser.press("ArrowRight");
    browser.wait_for(&format!("{legend}.includes('update: 2 ')"));
    assert_eq!(browser.complaints(), [""; 0]);
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
        group.iter().all(|other| reward(other) == reward(one))
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
fn keyboard_reaches_everything_and_arrows_move_between_groups() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    let mut reached = Vec::new();
    for _ in 0..60 {
        browser.press("Tab");
        let focused = browser.text(
            "(() => { const it = document.activeElement, style = getComputedStyle(it); \
             const name = it.id || it.className || it.textContent; \
             return (style.outlineStyle === 'none' || style.outlineWidth === '0px' ? 'UNSEEN ' : '') + name; })()",
        );
        assert!(!focused.starts_with("UNSEEN"), "the focus cannot be seen on {focused}");
        reached.push(focused);
        if reached.last().is_some_and(|name| name == "detail") {
            break;
        }
    }
    let order = [
        "skip", "Summary", "plot", "by-order", "by-show", "from", "cut", "silent", "groups",
        "detail",
    ];
    let places: Vec<_> =
        order.iter().map(|name| reached.iter().position(|reached| reached == name)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {reached:?}");

    let chosen = "document.querySelector('#groups [aria-selected=true] b').textContent + ' ' + \
                  document.getElementById('groups').getAttribute('aria-activedescendant')";
    let mut after = |focus: &str, key: &str| {
        browser.value(&format!("document.getElementById({focus:?}).focus(), 1"));
        browser.press(key);
        browser.text(chosen)
    };
    assert_eq!(after("groups", "ArrowDown"), "update 1 group-1");
    assert_eq!(after("groups", "ArrowUp"), "update 1 group-0");
    assert_eq!(after("groups", "ArrowUp"), "update 1 group-0");
    assert_eq!(after("detail", "ArrowRight"), "update 1 group-1");
    assert_eq!(after("groups", "End"), "update 12 group-35");
    assert_eq!(after("detail", "ArrowLeft"), "update 12 group-34");
    let note = "document.querySelector('#detail .ask div .note').textContent";
    browser.wait_for(&format!("{note}.startsWith('update 12')"));
    let row = "document.querySelector('#groups [aria-selected=true]').getBoundingClientRect()";
    let list = "document.getElementById('groups').getBoundingClientRect()";
    let is_seen = format!("{row}.bottom <= {list}.bottom + 1 && {row}.top >= {list}.top - 1");
    assert_eq!(browser.value(&is_seen), true, "the chosen group is scrolled into view");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn page_fits_a_phone_and_follows_what_a_person_prefers() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    for width in [390, 320] {
        browser.resize(width, 844);
        browser.wait_for("document.querySelectorAll('.completion').length >= 4");
        let fits = format!(
            "document.documentElement.scrollWidth <= {width} && \
             [...document.querySelectorAll('.chart canvas')].every((it) => it.getBoundingClientRect().right <= {width})"
        );
        browser.wait_for(&fits);
        // Neither does it where everything is unfolded.
        browser
            .value("document.querySelectorAll('details').forEach((it) => { it.open = true; }), 1");
        assert_eq!(browser.value(&fits), true, "at {width} with everything unfolded");
    }
    let paper = "getComputedStyle(document.body).backgroundColor";
    let ink = "document.querySelector('#chart-kl canvas').toDataURL()";
    let light = (browser.text(paper), browser.text(ink));
    browser.prefer("prefers-color-scheme", "dark");
    browser.wait_for(&format!("{paper} !== {:?}", light.0));
    browser.wait_for(&format!("{ink} !== {:?}", light.1));
    browser.prefer("prefers-reduced-motion", "reduce");
    assert_eq!(browser.text("getComputedStyle(document.documentElement).scrollBehavior"), "auto");
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
    let lines: String = rollouts.iter().map(|one| format!("{one}\n")).collect();
    std::fs::write(run.join("completions.jsonl"), lines).unwrap();
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

#[test]
fn page_says_so_where_scripts_are_off() {
    let folder = tempfile::tempdir().unwrap();
    let Some((mut browser, _)) = opened(folder.path()) else { return };
    browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    browser.call("Page.reload", json!({}));
    let started = Instant::now();
    loop {
        let said = browser.value("document.querySelector('noscript')?.innerText ?? ''");
        if said.as_str().is_some_and(|text| text.contains("scripts are off here")) {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "{said}");
    }
}

/// A hundred thousand completions of about 50 words: prints how large the page is, and how long it takes to make and to open.
#[test]
fn page_of_a_hundred_thousand_rollouts_is_bounded_and_usable() {
    let folder = tempfile::tempdir().unwrap();
    let size = Size { updates: 1250, prompts: 10, completions: 8, rows: 3000, words: 50 };
    let (run, rollouts) = recorded::run(&folder.path().join("large"), 1, size);
    assert_eq!(rollouts.len(), 100_000);
    drop(rollouts);
    let recorded_mb = run.join("completions.jsonl").metadata().unwrap().len() as f64 / 1e6;
    let started = Instant::now();
    let page = report(folder.path(), &["large"]);
    let seconds = started.elapsed().as_secs_f64();
    let mb = page.metadata().unwrap().len() as f64 / 1e6;
    println!(
        "100,000 rollouts, {recorded_mb:.0} MB of records: a page of {mb:.1} MB, made in {seconds:.1} s"
    );
    assert!(mb < 25.0, "{mb} MB");
    let Some(mut browser) = Chromium::start() else { return };
    let opened = browser.open(&address(&page)).as_secs_f64();
    let filtered = browser.value(
        "(() => { const begin = performance.now(); const it = document.getElementById('by-show'); it.value = 'mixed'; \
         it.dispatchEvent(new Event('change')); return performance.now() - begin; })()",
    );
    let filtered = filtered.as_f64().unwrap();
    println!("opened in {opened:.1} s, a filter takes {filtered:.0} ms");
    assert!(opened < 20.0 && filtered < 2000.0, "{opened} s, {filtered} ms");
    // A chunk far away is unpacked where a group of it is looked at.
    set(&mut browser, "by-show", "any");
    browser.value("document.getElementById('groups').focus(), 1");
    browser.press("End");
    browser.wait_for("document.querySelector('#detail .ask div .note')?.textContent.startsWith('update 1250') ?? false");
    assert_eq!(found(&mut browser), "12,500 groups with 100,000 completions");
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Pictures of the page for the documents: `OTHINK_SCREENSHOTS=FOLDER OTHINK_SCREENSHOTS_RUN=RUN`, of a run that was made.
#[test]
fn screenshots_are_made_where_asked_for() {
    let [Some(out), Some(run)] =
        ["OTHINK_SCREENSHOTS", "OTHINK_SCREENSHOTS_RUN"].map(std::env::var_os)
    else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<String> = std::env::split_paths(&run)
        .map(|run| std::path::absolute(run).unwrap().display().to_string())
        .collect();
    let words: Vec<&str> = runs.iter().map(String::as_str).collect();
    let page = report(folder.path(), &words);
    let Some(mut browser) = Chromium::start() else { return };
    browser.open(&address(&page));
    let out = PathBuf::from(out);
    let mut shoot = |name: &str, scheme: &str, size: (u32, u32), place: &str| {
        browser.resize(size.0, size.1);
        browser.prefer("prefers-color-scheme", scheme);
        browser.value(&format!(
            "document.querySelector('{place}').scrollIntoView({{behavior: 'instant'}}), 1"
        ));
        std::thread::sleep(std::time::Duration::from_millis(500));
        std::fs::write(out.join(name), browser.screenshot()).unwrap();
    };
    shoot("report.png", "light", (1200, 860), "header");
    shoot("report-phone.png", "light", (390, 844), "header");
    shoot("report-rollouts.png", "dark", (1200, 860), "#rollouts");
}
