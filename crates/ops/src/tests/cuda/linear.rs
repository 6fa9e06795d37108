//! Linear maps.

use super::*;

#[test]
fn linear_on_the_device_is_that_of_the_cpu() {
    for (rows, inner, outputs) in [(1, 8, 1), (1, 5, 3), (3, 64, 7), (600, 40, 33), (5, 1536, 1032)]
    {
        // Where numbers are few, each may be as far off as rounding to bf16 allows.
        let rounded = if rows * outputs.min(inner) < 100 { 1.0 / 256.0 } else { ROUNDED_ONCE };
        let (x, weight) = (numbers(&[rows, inner], 1), numbers(&[outputs, inner], 2));
        check_on_device(
            &format!("linear {rows} x {inner} -> {outputs}"),
            &|x, p| linear(&x[0], &map(&p[0], None), Product::Blocked),
            from_ref(&x),
            from_ref(&weight),
            [rounded, IN_F32],
        );
        check_on_device(
            &format!("linear {rows} x {inner} -> {outputs}, bias"),
            &|x, p| linear(&x[0], &map(&p[0], Some(&p[1])), Product::Blocked),
            &[x],
            &[weight, numbers(&[outputs], 3)],
            // For rows that are no whole number of 16 bytes cublasLt rounds the product before it adds the bias (seen on an
            // H200).
            [if outputs % 8 == 0 { rounded } else { 1.5 * rounded }, IN_F32],
        );
    }
}

#[test]
fn a_weight_of_more_axes_is_a_matrix_on_the_device() {
    check_on_device(
        "patches",
        &|x, p| linear(&x[0], &map(&p[0], None), Product::Blocked),
        &[numbers(&[9, 24], 1)],
        &[numbers(&[5, 3, 2, 4], 2)],
        [ROUNDED_ONCE, IN_F32],
    );
}

#[test]
fn parts_of_a_stacked_weight_fill_their_rows_of_the_gradient_on_the_device() {
    check_on_device(
        "stacked",
        &|x, p| {
            let part = |rows| linear_heads(&x[0], &stacked(p, rows), 2, Product::Blocked);
            Tensor::cat(&[part(2..8)?, part(0..2)?], 1)
        },
        &[numbers(&[70, 2, 8], 1)],
        &[numbers(&[8, 16], 2), numbers(&[8], 3)],
        [2.0 * ROUNDED_ONCE, IN_F32], // two gradients of x, each rounded, and their sum
    );
}

#[test]
fn a_low_rank_change_on_the_device_is_that_of_the_cpu() {
    // The map's result, the product with `A` and the sum are rounded, and so are their gradients; under dropout what `A` is given
    // as well, and the gradient to it.
    let maps: [(&str, fn(&[Parameter]) -> LinearParameters, f64); 2] =
        [("LoRA", adapted, 3.0), ("dropout", adapted_under_dropout, 4.0)];
    for (rows, inner, outputs, rank) in [(3, 64, 7, 4), (601, 40, 33, 8), (70, 1536, 1032, 16)] {
        let values = [
            numbers(&[outputs, inner], 2),
            numbers(&[outputs], 3),
            numbers(&[rank, inner], 4),
            numbers(&[outputs, rank], 5),
        ];
        for (name, map, times_rounded) in maps {
            check_on_device(
                &format!("linear with {name} {rows} x {inner} -> {outputs}, rank {rank}"),
                &|x, p| linear(&x[0], &map(p), Product::Blocked),
                &[numbers(&[rows, inner], 1)],
                &values,
                [times_rounded * ROUNDED_ONCE; 2],
            );
        }
    }
}

#[test]
fn parts_of_a_map_share_its_low_rank_change_on_the_device() {
    let values =
        [numbers(&[8, 16], 2), numbers(&[8], 3), numbers(&[4, 16], 4), numbers(&[8, 4], 5)];
    check_on_device(
        "stacked with LoRA",
        &|x, p| {
            let part = |rows| LinearPart { parameters: adapted(p), rows };
            let part = |rows| linear_heads(&x[0], &part(rows), 2, Product::Blocked);
            Tensor::cat(&[part(2..8)?, part(0..2)?], 1)
        },
        &[numbers(&[70, 2, 8], 1)],
        &values,
        [4.0 * ROUNDED_ONCE, 3.0 * ROUNDED_ONCE],
    );
}

#[test]
fn rows_of_the_gradient_that_no_part_used_are_zeros_on_the_device() {
    let weight = Parameter::trainable("w", &bf16_on_device(&numbers(&[6, 8], 2))).unwrap();
    let x = Var::from_tensor(&bf16_on_device(&numbers(&[4, 8], 1))).unwrap();
    let part = stacked(from_ref(&weight), 2..3);
    let y = linear_heads(&x, &part, 1, Product::Blocked).unwrap();
    scalar(&y).unwrap().backward().unwrap();
    let gradient = f64_here(&weight.gradient().unwrap());
    assert!(gradient[..16].iter().chain(&gradient[24..]).all(|&x| x == 0.0));
    assert!(gradient[16..24].iter().all(|&x| x != 0.0));
}

#[test]
fn a_bias_costs_no_rounding_on_the_device() {
    let [x, weight, bias] = [([200, 32], 1), ([48, 32], 2), ([48, 1], 3)]
        .map(|(shape, seed)| numbers(&shape, seed).to_dtype(DType::BF16).unwrap());
    let bias = bias.flatten_all().unwrap();
    let there = [&weight, &bias].map(|x| Parameter::frozen("p", &bf16_on_device(x)));
    let found =
        linear(&bf16_on_device(&x), &map(&there[0], Some(&there[1])), Product::Blocked).unwrap();
    let [x, weight, bias] = [x, weight, bias].map(|x| x.to_dtype(DType::F64).unwrap());
    let exact = plain::linear(&x, &weight, Some(&bias)).unwrap().to_dtype(DType::BF16).unwrap();
    let (found, exact) = (f64_here(&found), f64_here(&exact));
    let other = found.iter().zip(&exact).filter(|(a, b)| a != b).count();
    // A sum in f32 falls on the other side of a border now and then; rounded before the bias, every tenth number is another.
    assert!(other * 500 < found.len(), "{other} of {} are not the nearest bf16", found.len());
}

#[test]
fn gradients_of_several_passes_add_up_in_the_arena_on_the_device() {
    let start = 24; // of the second parameter
    let arena = GradientArena::new(start + 40, DType::F32, device()).unwrap();
    let value = |shape: &[usize], seed| bf16_on_device(&numbers(shape, seed));
    let frozen = Parameter::frozen("frozen", &value(&[3, 8], 5));
    let weight = Parameter::trainable_in("w", &value(&[5, 8], 2), &arena, start).unwrap();
    let pass = |seed| {
        let x = Var::from_tensor(&value(&[70, 8], seed)).unwrap();
        let y = linear(&x, &map(&weight, None), Product::Blocked).unwrap();
        let frozen = linear(&x, &map(&frozen, None), Product::Blocked).unwrap();
        let store = (scalar(&y).unwrap() + scalar(&frozen).unwrap()).unwrap().backward().unwrap();
        assert!(store.get(&x).is_some());
    };
    pass(1);
    let first = weight.take_gradient().unwrap().unwrap();
    pass(3);
    let second = weight.take_gradient().unwrap().unwrap();
    pass(1);
    pass(3);
    let both = weight.gradient().unwrap();
    assert!(relative_error(&both, &(first + second).unwrap()) < 1e-6);
    assert!(frozen.gradient().is_none());
    assert_eq!(f64_here(arena.numbers())[start..], f64_here(&both));
    assert!(f64_here(arena.numbers())[..start].iter().all(|&x| x == 0.0));
}

#[test]
fn no_rows_are_no_work_on_the_device() {
    let [weight, bias] = [numbers(&[5, 8], 2), numbers(&[5], 3)]
        .map(|value| Parameter::frozen("p", &bf16_on_device(&value)));
    // Candle itself cannot make an empty tensor on a GPU, nor hold its gradient.
    let x = bf16_on_device(&numbers(&[3, 8], 1)).narrow(0, 1, 0).unwrap();
    let y = linear(&x, &map(&weight, Some(&bias)), Product::Blocked).unwrap();
    assert_eq!(y.dims(), [0, 5]);
}
