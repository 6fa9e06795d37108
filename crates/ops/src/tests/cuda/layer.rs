//! A layer's first half as one operation, with the residual connection around it.

use super::*;

/// Several values are rounded to bf16 between input and output, and so are their gradients.
const ROUNDED_BETWEEN: f64 = 1e-2;

/// Heads of queries, heads of keys, dimensions of a head.
type Heads = [usize; 3];

/// Weights and biases of `q`, `k` and `v`, the weight of `o`, and the norm's weight.
fn separate_values(hidden: usize, [heads, kv_heads, head_dim]: Heads) -> Vec<Tensor> {
    let [queries, keys] = [heads, kv_heads].map(|heads| heads * head_dim);
    let shapes = [
        &[queries, hidden][..],
        &[queries],
        &[keys, hidden],
        &[keys],
        &[keys, hidden],
        &[keys],
        &[hidden, queries],
        &[hidden],
    ];
    shapes.iter().zip(2..).map(|(shape, seed)| (numbers(shape, seed) * 0.5).unwrap()).collect()
}

/// [`separate_values`] and the weights of both norms of heads.
fn normed_values(hidden: usize, heads: Heads) -> Vec<Tensor> {
    let [_, _, head_dim] = heads;
    let norms = [12, 13].map(|seed| numbers(&[head_dim], seed));
    separate_values(hidden, heads).into_iter().chain(norms).collect()
}

fn angles(x: &Tensor, head_dim: usize) -> Angles {
    let angles = (numbers(&[x.dim(0).unwrap(), head_dim / 2], 11) * 3.0).unwrap();
    let angles = angles.to_device(x.device()).unwrap();
    // Rounded as on the device, so that both turn by the same angles.
    Angles::new(&angles.to_dtype(DType::F32).unwrap(), x.dtype()).unwrap()
}

fn separate(
    x: &Tensor,
    p: &[Parameter],
    segments: &Segments,
    [_, _, head_dim]: Heads,
) -> Result<Tensor> {
    let part = |i: usize| LinearPart::whole(map(&p[i], Some(&p[i + 1])));
    let maps = AttentionMaps {
        q: part(0)?,
        k: part(2)?,
        v: part(4)?,
        o: map(&p[6], None),
        head_dim,
        head_norms: (p.len() > 8).then(|| HeadNorms { q: norm(&p[8..9]), k: norm(&p[9..10]) }),
    };
    residual_attention(x, &norm(&p[7..8]), &maps, &angles(x, head_dim), segments)
}

#[test]
fn a_decoders_first_half_on_the_device_is_that_of_the_cpu() {
    let ragged: &[(usize, &[usize])] = &[(70, &[9, 1, 66]), (3, &[]), (1, &[5])];
    for (groups, heads) in
        [(ragged, [4, 2, 16]), (&[(5, &[3, 1])], [2, 1, 128]), (&[(1, &[1])], [2, 2, 8])]
    {
        let groups: Vec<_> = groups.iter().map(|(prompt, own)| (*prompt, own.to_vec())).collect();
        let segments = Segments::prompts(&groups).unwrap();
        // Heads that are normalised are rounded once more, and so are their gradients.
        for (values, between) in [
            (separate_values(24, heads), ROUNDED_BETWEEN),
            (normed_values(24, heads), 2.0 * ROUNDED_BETWEEN),
        ] {
            let (n, of) = (segments.len(), values.len());
            check_on_device(
                &format!("residual attention, {n} tokens, heads {heads:?}, {of} parameters"),
                &|x, p| separate(&x[0], p, &segments, heads),
                &[numbers(&[n, 24], 1)],
                &values,
                [between; 2],
            );
        }
    }
}

#[test]
fn a_towers_first_half_on_the_device_is_that_of_the_cpu() {
    let segments = Segments::separate(&[130, 1, 64, 7]).unwrap();
    let width = 32;
    let shapes =
        [&[3 * width, width][..], &[3 * width], &[width, width], &[width], &[width], &[width]];
    let values = shapes.iter().zip(2..).map(|(shape, seed)| numbers(shape, seed) * 0.5);
    check_on_device(
        "residual attention of stacked maps",
        &|x, p| {
            let part = |i: usize| stacked(p, i * width..(i + 1) * width);
            let (o, head_dim) = (map(&p[2], Some(&p[3])), 16);
            let maps =
                AttentionMaps { q: part(0), k: part(1), v: part(2), o, head_dim, head_norms: None };
            residual_attention(&x[0], &norm(&p[4..]), &maps, &angles(&x[0], 16), &segments)
        },
        &[numbers(&[segments.len(), width], 1)],
        &values.collect::<Result<Vec<_>>>().unwrap(),
        [ROUNDED_BETWEEN; 2],
    );
}

#[test]
fn what_is_frozen_in_a_first_half_changes_no_other_gradient_on_the_device() {
    let heads = [4, 2, 16];
    let segments = Segments::prompts(&[(20, vec![9, 17])]).unwrap();
    let values = normed_values(24, heads);
    let run = |frozen: Option<usize>| {
        let trained = |value| Parameter::trainable("p", &bf16_on_device(value)).unwrap();
        let mut p: Vec<Parameter> = values.iter().map(trained).collect();
        if let Some(frozen) = frozen {
            p[frozen] = p[frozen].detached();
        }
        let x = Var::from_tensor(&bf16_on_device(&numbers(&[46, 24], 1))).unwrap();
        let y = separate(&x, &p, &segments, heads).unwrap();
        let store = scalar(&y).unwrap().backward().unwrap();
        let of_parameters = p.iter().map(|p| p.gradient().map(|x| f64_here(&x))).collect();
        (f64_here(store.get(&x).unwrap()), of_parameters)
    };
    let (dx, all): (Vec<f64>, Vec<Option<Vec<f64>>>) = run(None);
    for frozen in 0..values.len() {
        let (same, some) = run(Some(frozen));
        assert_eq!(same, dx);
        for (i, (some, all)) in some.iter().zip(&all).enumerate() {
            let expected = (i != frozen).then(|| all.clone().unwrap());
            assert_eq!(*some, expected, "parameter {i} where {frozen} is frozen");
        }
    }
}

#[test]
fn a_first_half_of_an_input_that_nothing_tracks_is_on_no_tape_and_has_the_same_bits() {
    let (heads, segments) = ([4, 2, 16], Segments::prompts(&[(20, vec![9, 17])]).unwrap());
    let values = normed_values(24, heads);
    let p: Vec<Parameter> =
        values.iter().map(|p| Parameter::trainable("p", &bf16_on_device(p)).unwrap()).collect();
    let x = bf16_on_device(&numbers(&[46, 24], 1));
    let alone = separate(&x, &p, &segments, heads).unwrap();
    let taped = separate(&Var::from_tensor(&x).unwrap(), &p, &segments, heads).unwrap();
    assert!(!alone.track_op() && taped.track_op());
    assert_eq!(f64_here(&alone), f64_here(&taped));
}
