//! Gradients that reach their buffers by themselves, the rows of a table, and the start of a backward pass.

use super::*;

fn here(x: &Tensor) -> Vec<f64> {
    let x = x.to_device(&Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Types of parameters, and of the sums of their gradients.
const DTYPES: [(DType, DType); 4] = [
    (DType::BF16, DType::F32),
    (DType::F32, DType::F32),
    (DType::BF16, DType::BF16),
    (DType::F32, DType::BF16),
];

/// Parameters of odd sizes one after the other in one arena, so that their buffers begin anywhere.
///
/// - `dtype`, `sums`: of the parameters and of their gradients
fn parameters(shapes: &[&[usize]], (dtype, sums): (DType, DType)) -> Vec<Parameter> {
    let sizes: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
    let arena = GradientArena::new(sizes.iter().sum(), sums, device()).unwrap();
    let mut start = 0;
    let parameter = |(shape, size): (&&[usize], &usize)| {
        let value = Tensor::zeros(*shape, dtype, device()).unwrap();
        let parameter = Parameter::trainable_in("p", &value, &arena, start).unwrap();
        start += size;
        parameter
    };
    shapes.iter().zip(&sizes).map(parameter).collect()
}

#[test]
fn gradients_of_both_dtypes_add_up_in_both_and_leave_their_neighbours() {
    let shapes: [&[usize]; 4] = [&[3, 5], &[], &[64, 33], &[1000]];
    for (dtype, sums) in DTYPES {
        let in_f32 = |x: &Tensor| x.to_dtype(DType::F32).unwrap();
        let stored = |x: Tensor| in_f32(&x.to_dtype(sums).unwrap());
        for parameter in parameters(&shapes, (dtype, sums)) {
            let dims = parameter.value().dims();
            let narrow = numbers(dims, 1).to_dtype(DType::BF16).unwrap();
            let wide = numbers(dims, 2).to_dtype(DType::F32).unwrap();
            for gradient in [&narrow, &wide, &narrow] {
                parameter.accumulate(&gradient.to_device(device()).unwrap()).unwrap();
            }
            let sum = stored((in_f32(&narrow) + &wide).unwrap());
            let expected = stored((sum + in_f32(&narrow)).unwrap());
            let gradient = parameter.gradient().unwrap();
            assert_eq!(gradient.dtype(), sums);
            assert_eq!(here(&gradient), here(&expected), "{dtype:?} in {sums:?}");
        }
        let all = parameters(&shapes, (dtype, sums));
        for parameter in &all {
            let ones = parameter.value().ones_like().unwrap();
            parameter.accumulate(&ones).unwrap();
        }
        all[2].clear_gradient();
        all[2].complete_gradient().unwrap();
        for (i, parameter) in all.iter().enumerate() {
            let expected = if i == 2 { 0.0 } else { 1.0 };
            assert!(here(&parameter.gradient().unwrap()).iter().all(|&x| x == expected), "{i}");
        }
    }
}

#[test]
fn gradients_of_rows_are_those_of_the_cpu_to_the_bit() {
    for (rows, width, n) in [
        (7, 5, 1),
        (5, 8, 40),
        (50, 1536, 300),
        (3, 520, 37),
        (2, 9, 0),
        (1, 24, 65),
        (3, 13, 4000),
        (5000, 8, 600),
    ] {
        let ids: Vec<u32> = (0..n).map(|i| (i * i + i / 3) % rows).collect();
        let shape = [rows as usize, width];
        for (dtype, sums) in DTYPES {
            let first: &[usize] = &[3];
            let table = &parameters(&[first, &shape], (dtype, sums))[1];
            let twin = Tensor::zeros(&shape, dtype, &Device::Cpu).unwrap();
            let twin = Parameter::trainable("p", &twin).unwrap();
            let mut expected = Tensor::zeros(&shape, sums, &Device::Cpu).unwrap();
            // Sums in f32 of few bits are exact, in any order of additions.
            let gradient = (numbers(&[n as usize, width], 3) * 64.0).unwrap().round().unwrap();
            let gradient = gradient.to_dtype(dtype).unwrap();
            for _ in 0..2 {
                twin.accumulate_rows(&ids, &gradient).unwrap();
                let added = twin.take_gradient().unwrap().unwrap();
                let sum = (expected.to_dtype(DType::F32).unwrap() + added).unwrap();
                expected = sum.to_dtype(sums).unwrap(); // rounded once for all rows
                if n == 0 {
                    let some = Tensor::zeros((1, width), dtype, device()).unwrap();
                    table.accumulate_rows(&ids, &some.narrow(0, 0, 0).unwrap()).unwrap();
                } else {
                    table.accumulate_rows(&ids, &gradient.to_device(device()).unwrap()).unwrap();
                }
            }
            let found = here(&table.gradient().unwrap());
            assert_eq!(found, here(&expected), "{shape:?} {n} {dtype:?} in {sums:?}");
        }
    }
}

#[test]
fn gradients_of_one_row_are_added_in_their_order() {
    let table = &parameters(&[&[2, 8]], (DType::F32, DType::F32))[0];
    // In f32, 1 + 2^24 - 2^24 is 0 in this order and 1 in others.
    let mut rows = [1f32, 16_777_216.0, -16_777_216.0].repeat(4);
    rows.push(3.0);
    let ids: Vec<u32> = rows.iter().map(|&x| u32::from(x != 3.0)).collect();
    let rows = Tensor::new(rows, device()).unwrap().unsqueeze(1).unwrap();
    table.accumulate_rows(&ids, &rows.broadcast_as((13, 8)).unwrap()).unwrap();
    let expected = [[3.0; 8], [0.0; 8]].concat();
    assert_eq!(here(&table.gradient().unwrap()), expected);
}

#[test]
fn gradients_of_a_row_named_often_are_added_in_pieces_of_64() {
    let table = &parameters(&[&[2, 8]], (DType::F32, DType::F32))[0];
    // In f32, ones behind 2^24 vanish one by one; added up in pieces of their own they count.
    let rows = [vec![16_777_216f32; 1], vec![1.0; 63], vec![1.0; 64], vec![1.0; 2]].concat();
    let n = rows.len();
    let rows = Tensor::new(rows, device()).unwrap().unsqueeze(1).unwrap();
    table.accumulate_rows(&vec![1; n], &rows.broadcast_as((n, 8)).unwrap()).unwrap();
    let expected = [[0.0; 8], [16_777_216.0 + 66.0; 8]].concat();
    assert_eq!(here(&table.gradient().unwrap()), expected);
}

#[test]
fn selected_rows_and_their_gradients_are_rounded_once() {
    for (rows, width, n) in [(1, 1, 1), (9, 13, 20), (300, 1536, 200), (40, 7, 40), (5000, 8, 9)] {
        let ids: Vec<u32> = (0..n).map(|i| (i * i + i / 3) % rows).collect();
        elementwise::check_rounded_once(
            &format!("select_rows {n} of {rows} x {width}"),
            &|x, _| select_rows(&x[0], &ids),
            &|x, _| select_rows(&x[0], &ids),
            &[numbers(&[rows as usize, width], 1)],
        );
    }
    let table = Tensor::zeros((3, 8), DType::BF16, device()).unwrap();
    assert!(select_rows(&table, &[3]).unwrap_err().to_string().contains("row 3 of 3"));
}

#[test]
fn a_backward_pass_on_the_device_starts_from_its_gradients() {
    let x = numbers(&[5, 7], 1).to_dtype(DType::BF16).unwrap().to_device(device()).unwrap();
    let x = Var::from_tensor(&x).unwrap();
    let wide = x.to_dtype(DType::F32).unwrap();
    let gradient = numbers(&[5, 7], 2).to_dtype(DType::F32).unwrap();
    let there = gradient.to_device(device()).unwrap();
    let outputs = [(x.as_tensor(), &there), (&wide, &there)];
    let found = backward(&outputs).unwrap().unwrap().remove(&x).unwrap();
    let rounded = gradient.to_dtype(DType::BF16).unwrap();
    assert_eq!(here(&found), here(&(&rounded + &rounded).unwrap()));
}

/// A slice that is freed with the tensor it was lent to would be freed twice, which the emulated device reports.
#[test]
fn memory_of_gradients_is_lent_to_other_numbers_and_stays_the_gradients() {
    let shapes: [&[usize]; 3] = [&[3, 5], &[64, 33], &[7]];
    let sizes: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
    let n = sizes.iter().sum();
    let arena = GradientArena::new(n, DType::F32, device()).unwrap();
    let starts = sizes.iter().scan(0, |start, size| Some(std::mem::replace(start, *start + size)));
    let parameter = |(shape, start): (&&[usize], usize)| {
        let value = Tensor::zeros(*shape, DType::BF16, device()).unwrap();
        Parameter::trainable_in("p", &value, &arena, start).unwrap()
    };
    let parameters: Vec<Parameter> = shapes.iter().zip(starts.clone()).map(parameter).collect();
    for (seed, dtype) in [(1, DType::BF16), (2, DType::F32), (3, DType::F16)] {
        let values = numbers(&[n], seed).to_dtype(dtype).unwrap();
        let lent = arena.lend(dtype, |all| {
            all.slice_set(&values.to_device(device()).unwrap(), 0, 0).unwrap();
            for (parameter, start) in parameters.iter().zip(starts.clone()) {
                let other = parameter.with_values_among(all).unwrap();
                assert!(!other.is_trainable());
                assert_eq!(other.value().dims(), parameter.value().dims());
                let expected = values.narrow(0, start, other.value().elem_count()).unwrap();
                assert_eq!(here(other.value()), here(&expected), "{dtype:?}");
            }
            all.clone()
        });
        drop(lent.unwrap());
        for parameter in &parameters {
            let ones = parameter.value().ones_like().unwrap();
            parameter.accumulate(&ones).unwrap();
            let error = parameter.with_values_among(arena.numbers()).unwrap_err().to_string();
            assert!(error.contains("while the gradient is in it"), "{error}");
            let gradient = parameter.take_gradient().unwrap().unwrap();
            assert!(here(&gradient).iter().all(|&x| x == 1.0), "{dtype:?}");
        }
    }
    let error = arena.lend(DType::F64, |_| panic!("too wide")).unwrap_err().to_string();
    assert!(error.contains("bytes do not fit into"), "{error}");
}
