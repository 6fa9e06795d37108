"""Writes crates/grading/tests/golden/pairs.jsonl: generated pairs of answers with math-verify's verdicts.

    python make_grading_pairs.py [--out FILE] [--seed 7] [--per-form 110]

Each line: form, gold, answer, and
  math_verify  verify(parse(gold), parse(answer)), both in dollar signs: math-verify's best reading of the two
  r1v          the verdict of R1-V's training reward on "<think>Thinking.</think> <answer> ANSWER </answer>" with the
               bare gold as solution: verify(parse(completion), parse(solution)), without the comparison of texts
Needs math-verify 0.9.0, latex2sympy2_extended 1.11.0, sympy 1.14.0; takes about half a minute.
"""

import argparse
import json
import logging
import pathlib
import random

from math_verify import parse, verify

OUT = pathlib.Path(__file__).resolve().parents[2] / "crates/grading/tests/golden/pairs.jsonl"


def integer(r):
    return r.choice([r.randint(0, 20), r.randint(0, 180), r.randint(-50, 2000)])


def grouped(n):
    return f"{n:,}"


def reduced(r):
    return r.randint(1, 20), r.randint(2, 15)


def squarefree(r):
    return r.choice([2, 3, 5, 6, 7, 10, 13, 15])


def form_integer(r):
    n = integer(r)
    return str(n), r.choice([str(n), f"{n}.0", f"+{n}" if n >= 0 else str(n), str(n + r.choice([-1, 1, 10])), str(-n), f"{n}."])


def form_decimal(r):
    n, places = r.uniform(0, 100), r.randint(1, 4)
    gold = f"{n:.{places}f}"
    return gold, r.choice([gold, gold + "0", f"{n:.{max(places - 1, 0)}f}", f"{n + 10 ** -places:.{places}f}", gold.lstrip("0")])


def form_thousands(r):
    n = r.randint(1000, 9_999_999)
    return r.choice([str(n), grouped(n)]), r.choice([str(n), grouped(n), grouped(n).replace(",", "{,}"), str(n + 1), str(n)[:-1]])


def form_fraction(r):
    a, b = reduced(r)
    k = r.randint(2, 4)
    return f"\\frac{{{a}}}{{{b}}}", r.choice(
        [f"{a}/{b}", f"\\frac{{{a * k}}}{{{b * k}}}", f"\\dfrac{{{a}}}{{{b}}}", f"{b}/{a}", f"{a + 1}/{b}", f"-\\frac{{{a}}}{{{b}}}", f"\\frac{{{-a}}}{{{-b}}}"]
    )


def form_fraction_as_decimal(r):
    a, b = reduced(r)
    return f"\\frac{{{a}}}{{{b}}}", r.choice([repr(a / b), f"{a / b:.2f}", f"{a / b:.4f}", f"{a / b:.6f}", f"{a / b + 0.01:.2f}"])


def form_mixed_number(r):
    w, a, b = r.randint(1, 9), r.randint(1, 4), r.choice([5, 6, 7, 8])
    return f"\\frac{{{w * b + a}}}{{{b}}}", r.choice([f"{w}\\frac{{{a}}}{{{b}}}", f"{w} {a}/{b}", f"{w}\\frac{{{a + 1}}}{{{b}}}", f"{w}+\\frac{{{a}}}{{{b}}}"])


def form_root(r):
    a, n = r.randint(1, 9), squarefree(r)
    gold = f"{a}\\sqrt{{{n}}}"
    return gold, r.choice(
        [gold, f"\\sqrt{{{a * a * n}}}", f"{a}\\sqrt{n}" if n < 10 else gold, f"\\frac{{{a * n}}}{{\\sqrt{{{n}}}}}", f"{a}\\sqrt{{{n + 1}}}", f"{a + 1}\\sqrt{{{n}}}", f"\\sqrt{{{n}}} \\times {a}", f"{a}√{{{n}}}"]
    )


def form_root_as_decimal(r):
    a, n = r.randint(1, 9), squarefree(r)
    value = a * n**0.5
    return f"{a}\\sqrt{{{n}}}", r.choice([f"{value:.2f}", f"{value:.3f}", f"{value:.6f}", repr(value), f"{value:.1f}", f"{value + 0.001:.3f}"])


def form_rationalised(r):
    a, n = r.randint(1, 9), squarefree(r)
    return f"\\frac{{{a}\\sqrt{{{n}}}}}{{{n}}}", r.choice([f"\\frac{{{a}}}{{\\sqrt{{{n}}}}}", f"\\frac{{{a}}}{{{n}}}\\sqrt{{{n}}}", f"\\frac{{{a}}}{{{n}}}", f"\\frac{{\\sqrt{{{n}}}}}{{{n}}} \\cdot {a}", f"\\frac{{{a + 1}}}{{\\sqrt{{{n}}}}}"])


def form_sum_of_roots(r):
    a, n = r.randint(1, 9), squarefree(r)
    return f"{a}+\\sqrt{{{n}}}", r.choice([f"\\sqrt{{{n}}}+{a}", f"{a}-\\sqrt{{{n}}}", f"\\frac{{{2 * a}+2\\sqrt{{{n}}}}}{{2}}", f"{a}\\sqrt{{{n}}}", f"\\sqrt{{{n}}} + {a + 1}"])


def form_cube_root(r):
    a = r.randint(2, 5)
    return str(a), r.choice([f"\\sqrt[3]{{{a**3}}}", f"\\sqrt[3]{{{a**3 + 1}}}", f"\\sqrt{{{a * a}}}", f"{a**3}^{{\\frac{{1}}{{3}}}}"])


def form_pi(r):
    a = r.randint(1, 70)
    return f"{a}\\pi", r.choice([f"{a}\\pi", f"{a}π", f"\\pi \\times {a}", f"{a}", f"{a + 1}\\pi", f"\\frac{{{2 * a}\\pi}}{{2}}", f"{a * 3.141592653589793:.2f}", f"{a * 3.141592653589793:.6f}"])


def form_power(r):
    a, k = r.randint(2, 9), r.randint(2, 4)
    return str(a**k), r.choice([f"{a}^{k}", f"{a}^{{{k}}}", f"{a}^{{{k + 1}}}", f"{a} \\times {a**(k - 1)}", f"{a}\\cdot{a**(k - 1)}"])


def form_scientific(r):
    a, k = r.randint(11, 99), r.randint(2, 6)
    return str(a * 10 ** (k - 1)), r.choice([f"{a / 10} \\times 10^{{{k}}}", f"{a / 10} \\times 10^{k}", f"{a / 10} \\times 10^{{{k + 1}}}", f"{a / 10}E{k}"])


def form_percent(r):
    a = r.randint(1, 99)
    return f"{a}\\%", r.choice([f"{a}\\%", f"{a}%", f"{a / 100}", f"{a}", f"\\frac{{{a}}}{{100}}", f"{a + 1}\\%", f"{a} percent", f"{a / 10}\\%"])


def form_degrees(r):
    a = r.randint(1, 180)
    return f"{a}^\\circ", r.choice([f"{a}^\\circ", f"{a}^{{\\circ}}", f"{a}", f"{a} degrees", f"{a + 1}^\\circ", f"{a}.0^\\circ", f"{a}°"])


def form_units(r):
    a, unit = r.randint(1, 99), r.choice(["cm", "m", "km", "cm^2", "m^2"])
    return f"{a} {unit}", r.choice([f"{a}", f"{a}\\text{{ {unit}}}", f"{a} \\mathrm{{{unit}}}", f"{a + 1} {unit}", f"{a} kg", f"{a} mm", f"{a}{unit}"])


def form_interval(r):
    a, b = r.randint(-5, 5), r.randint(6, 12)
    gold = r.choice(["[{}, {}]", "({}, {})", "[{}, {})", "({}, {}]"]).format(a, b)
    return gold, r.choice([gold, f"[{a}, {b}]", f"({a}, {b})", f"[{a}, {b + 1})", gold.replace(str(b), f"{b}.0")])


def form_tuple(r):
    a, b, c = r.randint(1, 5), r.randint(1, 5), r.randint(6, 9)
    return f"({a}, {c}, {b})", r.choice([f"({a}, {c}, {b})", f"({a},{c},{b})", f"({c}, {a}, {b})", f"({a}, {c})", f"({a}, {c}, \\frac{{{2 * b}}}{{2}})"])


def form_set(r):
    a, b, c = r.sample(range(1, 12), 3)
    return f"\\{{{a}, {b}, {c}\\}}", r.choice([f"\\{{{c}, {a}, {b}\\}}", f"{a}, {b}, {c}", f"\\{{{a}, {b}\\}}", f"{c}, {b}, {a}", f"{a}", f"\\{{{a}, {b}, {c + 1}\\}}"])


def form_list(r):
    a, b = r.sample(range(1, 30), 2)
    return f"{a}, {b}", r.choice([f"{b}, {a}", f"{a} and {b}", f"{a} or {b}", f"{a}", f"{a}, {b + 1}", f"{a}, {b}, {b + 1}"])


def form_equation(r):
    x, a = r.choice("xyk"), r.randint(1, 30)
    return r.choice([f"{x} = {a}", str(a)]), r.choice([f"{x} = {a}", f"{x}={a}", str(a), f"{x} = {a + 1}", f"z = {a}", f"{x} = {a - 1} + 1 = {a}"])


def form_polynomial(r):
    a = r.randint(1, 9)
    return f"x^2+{2 * a}x+{a * a}", r.choice([f"(x+{a})^2", f"x^2 + {2 * a}x + {a * a}", f"{a * a}+{2 * a}x+x^2", f"(x-{a})^2", f"x(x+{2 * a})+{a * a}", f"x^2+{a * a}"])


def form_rational_function(r):
    a = r.randint(1, 9)
    return f"\\frac{{1}}{{x+{a}}}", r.choice([f"\\frac{{2}}{{2x+{2 * a}}}", f"(x+{a})^{{-1}}", f"\\frac{{x}}{{x^2+{a}x}}", f"\\frac{{1}}{{x}}", f"\\frac{{1}}{{x-{a}}}"])


def form_linear_equation(r):
    a, b = r.randint(2, 9), r.randint(1, 9)
    return f"y = {a}x + {b}", r.choice([f"y = {a}x+{b}", f"y = {b} + {a}x", f"{a}x + {b}", f"y - {a}x = {b}", f"y = {a}x - {b}", f"{a}x - y + {b} = 0"])


def form_inequality(r):
    a = r.randint(1, 30)
    return f"x > {a}", r.choice([f"x > {a}", f"{a} < x", f"x \\geq {a}", f"x < {a}", f"x > {a}.0", f"x > {a + 1}"])


def form_plus_minus(r):
    a = r.randint(1, 9)
    return f"\\pm {a}", r.choice([f"\\pm {a}", f"{a}, -{a}", f"-{a}, {a}", f"{a}", f"\\pm {a + 1}"])


def form_letters(r):
    word = r.choice(["A", "B", "C", "AB", "ABC", "x"])
    return word, r.choice([word, f"\\text{{{word}}}", word.lower(), "D", f"\\mathrm{{{word}}}", word[::-1]])


def form_text(r):
    word = r.choice(["red", "blue", "yes", "no", "increasing", "isosceles triangle"])
    return f"\\text{{{word}}}", r.choice([f"\\text{{{word}}}", f"\\text{{{word.upper()}}}", "\\text{green}", word])


def form_boxed(r):
    a = r.randint(1, 99)
    return str(a), r.choice([f"\\boxed{{{a}}}", f"\\boxed{{{a + 1}}}", f"\\boxed{{\\text{{{a}}}}}", f"\\boxed{{{a}^\\circ}}", f"\\boxed{{x = {a}}}"])


def form_unicode(r):
    a, n = r.randint(2, 9), squarefree(r)
    return f"{a}√{{{n}}}", r.choice([f"{a}√{{{n}}}", f"{a}√{n}", f"{a}\\sqrt{{{n}}}", f"{a}√{{{n + 1}}}"])


def form_words(r):
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    a = r.randint(0, 10)
    return str(a), r.choice([words[a], words[(a + 1) % 11]])


def form_ratio(r):
    a, b = r.randint(1, 9), r.randint(2, 9)
    return f"\\frac{{{a}}}{{{b}}}", r.choice([f"{a}:{b}", f"{2 * a}:{2 * b}", f"{b}:{a}" if a != b else f"{a}:{b + 1}"])


FORMS = {name[5:]: form for name, form in list(globals().items()) if name.startswith("form_")}


def verdicts(gold, answer):
    def dressed(text):
        return f"${text}$"

    completion = f"<think>Thinking.</think> <answer> {answer} </answer>"
    return bool(verify(parse(dressed(gold)), parse(dressed(answer)))), bool(verify(parse(completion), parse(gold)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--per-form", type=int, default=110)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    r = random.Random(args.seed)
    with open(args.out, "w", encoding="utf-8") as out:
        for name, form in FORMS.items():
            for _ in range(args.per_form):
                gold, answer = form(r)
                best, r1v = verdicts(gold, answer)
                row = {"form": name, "gold": gold, "answer": answer, "math_verify": best, "r1v": r1v}
                out.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
