"use strict";
/* What the chapters compute: pure functions over plain arrays, one value per pixel, planes (C, H, W) row by row.
   Nothing here touches the page, so that a test can call it and compare. */

atlas.maths = (() => {
  /* -- chance ------------------------------------------------------------------------------------------------------ */

  /** A generator of numbers in [0, 1), the same for the same seed (mulberry32). */
  function uniform(seed) {
    let state = seed >>> 0;
    return () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = state;
      t = Math.imul(t ^ (t >>> 15), t | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  /** `count` numbers of a normal distribution (Box and Muller), each `scale` times one of deviation 1. */
  function normal(next, count, scale = 1) {
    return Float64Array.from({length: count}, () => scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()));
  }
  /** The numbers 0 … count − 1 in a random order. */
  function shuffled(next, count) {
    const order = Array.from({length: count}, (_, i) => i);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor(next() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    return order;
  }

  /* -- convolution and pooling ------------------------------------------------------------------------------------- */

  /** The index that a mirrored border shows at `i` of a line of `n` pixels; the border pixel itself is not repeated. */
  function mirror(i, n) {
    if (n === 1) return 0;
    const period = 2 * (n - 1), at = ((i % period) + period) % period;
    return at < n ? at : period - at;
  }

  const reach = (side, kernel, stride, pad) => Math.floor((side + 2 * pad - kernel) / stride) + 1;

  /** Convolution (as networks mean it: the kernel is not turned) of planes (cin, height, width) with weights
      (cout, cin, kernel, kernel). Answers {values, channels, height, width}. */
  function convolve({values, channels, height, width}, weights, {cout = 1, kernel, stride = 1, pad = 0, bias = null} = {}) {
    const high = reach(height, kernel, stride, pad), wide = reach(width, kernel, stride, pad);
    const out = new Float64Array(cout * high * wide);
    for (let o = 0; o < cout; o++) for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      let sum = bias ? bias[o] : 0;
      for (let c = 0; c < channels; c++) for (let v = 0; v < kernel; v++) {
        const row = y * stride + v - pad;
        if (row < 0 || row >= height) continue;
        for (let u = 0; u < kernel; u++) {
          const column = x * stride + u - pad;
          if (column >= 0 && column < width) {
            sum += values[(c * height + row) * width + column] * weights[((o * channels + c) * kernel + v) * kernel + u];
          }
        }
      }
      out[(o * high + y) * wide + x] = sum;
    }
    return {values: out, channels: cout, height: high, width: wide};
  }

  /** Pooling of every plane; `kind` "max" or "mean". Nothing is padded. */
  function pool({values, channels, height, width}, kernel, stride, kind = "max") {
    const high = reach(height, kernel, stride, 0), wide = reach(width, kernel, stride, 0);
    const out = new Float64Array(channels * high * wide);
    for (let c = 0; c < channels; c++) for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      let most = -Infinity, sum = 0;
      for (let v = 0; v < kernel; v++) for (let u = 0; u < kernel; u++) {
        const value = values[(c * height + y * stride + v) * width + x * stride + u];
        most = Math.max(most, value);
        sum += value;
      }
      out[(c * high + y) * wide + x] = kind === "max" ? most : sum / kernel ** 2;
    }
    return {values: out, channels, height: high, width: wide};
  }

  const rectified = (planes) => ({...planes, values: planes.values.map((value) => Math.max(0, value))});

  /** Local response normalisation over neighbouring planes: b = a / (k + α Σ a²)^β, the sum over `size` maps. */
  function respond({values, channels, height, width}, {size = 5, k = 2, alpha = 1e-4, beta = 0.75} = {}) {
    const area = height * width, out = new Float64Array(values.length), before = Math.floor(size / 2);
    for (let c = 0; c < channels; c++) for (let i = 0; i < area; i++) {
      let sum = 0;
      for (let d = Math.max(0, c - before); d <= Math.min(channels - 1, c + size - 1 - before); d++) sum += values[d * area + i] ** 2;
      out[c * area + i] = values[c * area + i] / (k + alpha * sum) ** beta;
    }
    return {values: out, channels, height, width};
  }

  /** `count` kernels that answer to edges of as many directions: a cosine under a bell, without a mean. */
  function edges(count, kernel) {
    const out = new Float64Array(count * kernel ** 2), middle = (kernel - 1) / 2;
    for (let o = 0; o < count; o++) {
      const angle = Math.PI * 2 * o / count;
      let sum = 0, size = 0;
      for (let v = 0; v < kernel; v++) for (let u = 0; u < kernel; u++) {
        const x = (u - middle) * Math.cos(angle) + (v - middle) * Math.sin(angle);
        const bell = Math.exp(-((u - middle) ** 2 + (v - middle) ** 2) / (kernel * 0.9));
        sum += out[(o * kernel + v) * kernel + u] = Math.sin(x * 2.2 / middle) * bell;
      }
      for (let i = 0; i < kernel ** 2; i++) {
        out[o * kernel ** 2 + i] -= sum / kernel ** 2;
        size += Math.abs(out[o * kernel ** 2 + i]);
      }
      for (let i = 0; i < kernel ** 2; i++) out[o * kernel ** 2 + i] /= size;
    }
    return out;
  }

  /** The kernel and bias that come nearest, by least squares, to `wanted` (a plane) when `from` is convolved with
      stride: the normal equations. Answers {weights, bias, explained}: the share of the variance that is met. */
  function nearest({values, height, width}, wanted, kernel, stride) {
    const terms = kernel ** 2 + 1, A = Array.from({length: terms}, () => new Float64Array(terms + 1));
    const row = new Float64Array(terms);
    const rows = (f) => {
      for (let y = 0; y < wanted.height; y++) for (let x = 0; x < wanted.width; x++) {
        for (let v = 0; v < kernel; v++) for (let u = 0; u < kernel; u++) {
          row[v * kernel + u] = values[(y * stride + v) * width + x * stride + u];
        }
        row[terms - 1] = 1;
        f(wanted.values[y * wanted.width + x]);
      }
    };
    rows((value) => {
      for (let i = 0; i < terms; i++) {
        for (let j = 0; j < terms; j++) A[i][j] += row[i] * row[j];
        A[i][terms] += row[i] * value;
      }
    });
    for (let i = 0; i < terms; i++) A[i][i] += 1e-9 * (A[terms - 1][terms - 1] || 1);      // where pixels are all alike
    const found = solve(A);
    let mean = 0, left = 0, whole = 0;
    for (const value of wanted.values) mean += value / wanted.values.length;
    rows((value) => {
      let said = 0;
      for (let i = 0; i < terms; i++) said += row[i] * found[i];
      left += (value - said) ** 2;
      whole += (value - mean) ** 2;
    });
    return {weights: found.slice(0, -1), bias: found.slice(-1), explained: whole ? 1 - left / whole : 1};
  }
  /** The solution of linear equations, whose last column is the right side (Gauss, with pivots). */
  function solve(A) {
    const n = A.length;
    for (let i = 0; i < n; i++) {
      let best = i;
      for (let j = i + 1; j < n; j++) if (Math.abs(A[j][i]) > Math.abs(A[best][i])) best = j;
      [A[i], A[best]] = [A[best], A[i]];
      for (let j = i + 1; j < n; j++) {
        const by = A[j][i] / A[i][i];
        for (let k = i; k <= n; k++) A[j][k] -= by * A[i][k];
      }
    }
    const x = new Float64Array(n);
    for (let i = n - 1; i >= 0; i--) {
      x[i] = A[i][n];
      for (let j = i + 1; j < n; j++) x[i] -= A[i][j] * x[j];
      x[i] /= A[i][i];
    }
    return x;
  }

  /** A 1×1 convolution as what it is: a fully connected layer (cout, cin), applied to each pixel in turn. */
  function everywhere({values, channels, height, width}, weights, bias) {
    const area = height * width, out = new Float64Array(bias.length * area);
    for (let i = 0; i < area; i++) {
      for (let o = 0; o < bias.length; o++) {
        let sum = bias[o];
        for (let c = 0; c < channels; c++) sum += values[c * area + i] * weights[o * channels + c];
        out[o * area + i] = sum;
      }
    }
    return {values: out, channels: bias.length, height, width};
  }
  /** The planes with their pixels in another order: pixel i is what pixel order[i] was. */
  function reordered({values, channels, height, width}, order) {
    const area = height * width, out = new Float64Array(values.length);
    for (let c = 0; c < channels; c++) for (let i = 0; i < area; i++) out[c * area + i] = values[c * area + order[i]];
    return {values: out, channels, height, width};
  }

  /** Zeros between the pixels: a map `stride` times as large, as a transposed convolution begins. */
  function spaced({values, channels, height, width}, stride) {
    const high = height * stride, wide = width * stride, out = new Float64Array(channels * high * wide);
    for (let c = 0; c < channels; c++) for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) {
      out[(c * high + y * stride) * wide + x * stride] = values[(c * height + y) * width + x];
    }
    return {values: out, channels, height: high, width: wide};
  }
  /** A transposed convolution of one plane: every pixel lays the kernel down, and where they overlap they add up. Its
      borders are cut so that the map is `stride` times as large. Answers the plane and, per pixel, how many weights reach it. */
  function transposed({values, height, width}, weights, kernel, stride) {
    const high = height * stride, wide = width * stride, cut = Math.floor((kernel - stride) / 2);
    const out = new Float64Array(high * wide), reached = new Float64Array(high * wide);
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) for (let v = 0; v < kernel; v++) for (let u = 0; u < kernel; u++) {
      const row = y * stride + v - cut, column = x * stride + u - cut;
      if (row < 0 || row >= high || column < 0 || column >= wide) continue;
      out[row * wide + column] += values[y * width + x] * weights[v * kernel + u];
      reached[row * wide + column] += 1;
    }
    return {values: out, reached, channels: 1, height: high, width: wide};
  }
  /** The map with each pixel repeated. */
  function repeated({values, height, width}, stride) {
    const high = height * stride, wide = width * stride, out = new Float64Array(high * wide);
    for (let y = 0; y < high; y++) for (let x = 0; x < wide; x++) {
      out[y * wide + x] = values[Math.floor(y / stride) * width + Math.floor(x / stride)];
    }
    return {values: out, channels: 1, height: high, width: wide};
  }

  /* -- receptive fields -------------------------------------------------------------------------------------------- */

  /** The receptive field of a stack of [kernel, stride] layers, in pixels. */
  function sight(layers) {
    let seen = 1, jump = 1;
    for (const [kernel, stride] of layers) { seen += (kernel - 1) * jump; jump *= stride; }
    return seen;
  }

  /** The effective receptive field of linear layers with independent random weights: the expected square of the gradient
      of the middle output by each pixel of side × side. Each layer is the sum of boxes [height, width] of weights; its
      expected squares are a convolution of the last layer's with the mean of those boxes. With `shortcut` every layer adds
      its input at equal strength. Sums to 1. */
  function influence(layers, side, shortcut = false) {
    let now = new Float64Array(side * side);
    now[(side * side - 1) / 2] = 1;
    const sums = new Float64Array((side + 1) ** 2);
    for (const boxes of layers) {
      for (let y = 0; y < side; y++) {
        let row = 0;
        for (let x = 0; x < side; x++) {
          row += now[y * side + x];
          sums[(y + 1) * (side + 1) + x + 1] = sums[y * (side + 1) + x + 1] + row;
        }
      }
      const next = new Float64Array(side * side);
      const weights = boxes.reduce((sum, [high, wide]) => sum + high * wide, 0);
      for (const [high, wide] of boxes) {
        const a = (high - 1) / 2, b = (wide - 1) / 2;
        for (let y = 0; y < side; y++) {
          const top = Math.max(0, y - a), bottom = Math.min(side, y + a + 1);
          for (let x = 0; x < side; x++) {
            const left = Math.max(0, x - b), right = Math.min(side, x + b + 1);
            next[y * side + x] += (sums[bottom * (side + 1) + right] - sums[top * (side + 1) + right]
              - sums[bottom * (side + 1) + left] + sums[top * (side + 1) + left]) / weights;
          }
        }
      }
      now = shortcut ? next.map((value, i) => (value + now[i]) / 2) : next;
    }
    const whole = now.reduce((sum, value) => sum + value, 0);
    return now.map((value) => Math.max(0, value) / whole);
  }
  /** The side of the smallest square around the middle that holds `share` of such a field. */
  function holding(field, side, share) {
    const middle = (side - 1) / 2;
    for (let r = 0; r <= middle; r++) {
      let sum = 0;
      for (let y = middle - r; y <= middle + r; y++) for (let x = middle - r; x <= middle + r; x++) sum += field[y * side + x];
      if (sum >= share - 1e-12) return 2 * r + 1;
    }
    return side;
  }

  /* -- costs ------------------------------------------------------------------------------------------------------- */

  /** Weights and multiply-adds of a convolution, and of its depthwise-separable form (Howard et al. 2017, eq. 2 to 5). */
  function separable({kernel, cin, cout, side}) {
    const area = side ** 2;
    const full = kernel ** 2 * cin * cout, depthwise = kernel ** 2 * cin, pointwise = cin * cout;
    return {full: {params: full, macs: full * area}, depthwise: {params: depthwise, macs: depthwise * area},
      pointwise: {params: pointwise, macs: pointwise * area}, share: (depthwise + pointwise) / full};
  }

  /** A dense block: `reads[l]` says which of the maps 0 … l layer l + 1 reads. Channels read and weights of each layer;
      with a bottleneck a 1×1 convolution to 4k channels comes first. */
  function dense({first, growth, reads, kernel = 3, bottleneck = false}) {
    const wide = (source) => source === 0 ? first : growth;
    const layers = reads.map((row) => {
      const channels = row.reduce((sum, read, source) => sum + (read ? wide(source) : 0), 0);
      const weights = bottleneck ? channels * 4 * growth + 4 * growth * growth * kernel ** 2 : channels * growth * kernel ** 2;
      return {channels, weights};
    });
    return {layers, weights: layers.reduce((sum, layer) => sum + layer.weights, 0)};
  }

  /** The width rule of mobile networks: the multiple of 8 nearest, at least 8 and 90 % of what was wanted. */
  function rounded(wanted) {
    const near = Math.max(8, Math.floor(Math.trunc(wanted + 4) / 8) * 8);
    return near >= 0.9 * wanted ? near : near + 8;
  }

  /** Parameters and multiply-adds of an EfficientNet; `table` has its rows as the library writes them:
      expand, kernel, resolution, channels, layers, se. Two parameters per channel are BatchNorm's. */
  function efficientnet(table, {width = 1, depth = 1, size = 224, classes = 1000, ratio = 0.25, cin = 3}) {
    let params = 0, macs = 0, side = size, channels = cin;
    const conv = (from, to, kernel, stride, groups) => {
      side = Math.floor((side + 2 * ((kernel - 1) / 2) - kernel) / stride) + 1;
      const weights = kernel ** 2 * from / groups * to;
      params += weights + 2 * to;
      macs += weights * side ** 2;
    };
    table.forEach(([expand, kernel, resolution, wanted, layers, se], row) => {
      const stride = row + 1 < table.length ? resolution / table[row + 1][2] : 1, to = rounded(wanted * width);
      if (!expand) { conv(channels, to, kernel, stride, 1); channels = to; return; }
      for (let layer = 0; layer < Math.ceil(layers * depth - 1e-9); layer++) {
        const mid = expand * channels, inside = se ? Math.max(1, Math.floor(channels * ratio)) : 0;
        if (expand !== 1) conv(channels, mid, 1, 1, 1);
        conv(mid, mid, kernel, layer ? 1 : stride, mid);
        if (inside) { params += 2 * mid * inside + inside + mid; macs += 2 * mid * inside; }
        conv(mid, to, 1, 1, 1);
        channels = to;
      }
    });
    return {params: params + (channels + 1) * classes, macs: macs + channels * classes, side};
  }

  /** The sides that a U-Net without padding takes from an input: its output's side, or null where a map of odd side
      would have to be halved. `levels` halvings, two 3×3 convolutions each. */
  function valid(side, levels = 4) {
    for (let level = 0; level < levels; level++) {
      side -= 4;
      if (side <= 0 || side % 2) return null;
      side /= 2;
    }
    side -= 4;
    for (let level = 0; level < levels; level++) side = side * 2 - 4;
    return side > 0 ? side : null;
  }

  /* -- RepVGG ------------------------------------------------------------------------------------------------------ */

  /** One 3×3 kernel and bias from three branches, each followed by BatchNorm: 3×3 and 1×1 convolutions and identity
      (Ding et al. 2021, section 3.3). Norms are {gamma, beta, mean, variance}; `point` and `skip` may be null. */
  function folded({three, point, skip, norms, channels, eps = 1e-5}) {
    const weights = new Float64Array(channels * channels * 9), bias = new Float64Array(channels);
    const add = (norm, weight) => {
      for (let o = 0; o < channels; o++) {
        const scale = norm.gamma[o] / Math.sqrt(norm.variance[o] + eps);
        bias[o] += norm.beta[o] - norm.mean[o] * scale;
        for (let i = 0; i < channels; i++) for (let t = 0; t < 9; t++) weights[(o * channels + i) * 9 + t] += scale * weight(o, i, t);
      }
    };
    add(norms.three, (o, i, t) => three[(o * channels + i) * 9 + t]);
    if (point) add(norms.point, (o, i, t) => t === 4 ? point[o * channels + i] : 0);
    if (skip) add(norms.skip, (o, i, t) => t === 4 && o === i ? 1 : 0);
    return {weights, bias};
  }
  /** The same block as it is trained: each branch on its own, normalised, then added. */
  function branched(x, {three, point, skip, norms, channels, eps = 1e-5}) {
    const area = x.height * x.width, out = new Float64Array(channels * area);
    const add = (norm, values) => {
      for (let o = 0; o < channels; o++) for (let i = 0; i < area; i++) {
        out[o * area + i] += (values[o * area + i] - norm.mean[o]) / Math.sqrt(norm.variance[o] + eps) * norm.gamma[o] + norm.beta[o];
      }
    };
    add(norms.three, convolve(x, three, {cout: channels, kernel: 3, pad: 1}).values);
    if (point) add(norms.point, convolve(x, point, {cout: channels, kernel: 1}).values);
    if (skip) add(norms.skip, x.values);
    return {...x, values: out};
  }

  /* -- small networks that train in the page ----------------------------------------------------------------------- */

  const ACTS = {
    relu: [(x) => x > 0 ? x : 0, (x, y) => x > 0 ? 1 : 0],
    tanh: [Math.tanh, (x, y) => 1 - y * y],
  };

  /** A small convolutional network on 8×8 pixels: two 3×3 convolutions of 8 and 16 maps and ten scores. The same seed
      begins with the same weights, whatever the act. Weights are drawn as He et al. 2015 do, N(0, 2/n). */
  function small(seed, act = "relu", widths = [8, 16]) {
    const next = uniform(seed), [a, b] = widths;
    return {act, widths, w1: normal(next, a * 9, Math.sqrt(2 / 9)), b1: new Float64Array(a),
      w2: normal(next, b * a * 9, Math.sqrt(2 / (9 * a))), b2: new Float64Array(b),
      w3: normal(next, 10 * b * 16, Math.sqrt(2 / (16 * b))), b3: new Float64Array(10)};
  }
  const NAMES = ["w1", "b1", "w2", "b2", "w3", "b3"];

  /** Loss of one image (cross entropy) and whether it is right; with `grads` the gradients are added to them. */
  function learn(net, image, label, grads = null) {
    const [a, b] = net.widths, [f, df] = ACTS[net.act];
    const x1 = new Float64Array(a * 36), y1 = new Float64Array(a * 36), x2 = new Float64Array(b * 16), y2 = new Float64Array(b * 16);
    for (let o = 0; o < a; o++) for (let y = 0; y < 6; y++) for (let x = 0; x < 6; x++) {
      let sum = net.b1[o];
      for (let v = 0; v < 3; v++) for (let u = 0; u < 3; u++) sum += image[(y + v) * 8 + x + u] * net.w1[o * 9 + v * 3 + u];
      const at = o * 36 + y * 6 + x;
      x1[at] = sum; y1[at] = f(sum);
    }
    for (let o = 0; o < b; o++) for (let y = 0; y < 4; y++) for (let x = 0; x < 4; x++) {
      let sum = net.b2[o];
      for (let c = 0; c < a; c++) for (let v = 0; v < 3; v++) for (let u = 0; u < 3; u++) {
        sum += y1[c * 36 + (y + v) * 6 + x + u] * net.w2[(o * a + c) * 9 + v * 3 + u];
      }
      const at = o * 16 + y * 4 + x;
      x2[at] = sum; y2[at] = f(sum);
    }
    const scores = new Float64Array(10), n = b * 16;
    for (let o = 0; o < 10; o++) {
      let sum = net.b3[o];
      for (let i = 0; i < n; i++) sum += y2[i] * net.w3[o * n + i];
      scores[o] = sum;
    }
    const most = Math.max(...scores), shares = scores.map((score) => Math.exp(score - most));
    const whole = shares.reduce((sum, value) => sum + value, 0);
    const loss = Math.log(whole) + most - scores[label], right = scores[label] === most;
    if (!grads) return {loss, right, scores};
    const d2 = new Float64Array(n), d1 = new Float64Array(a * 36);
    for (let o = 0; o < 10; o++) {
      const d = shares[o] / whole - (o === label ? 1 : 0);
      grads.b3[o] += d;
      for (let i = 0; i < n; i++) { grads.w3[o * n + i] += d * y2[i]; d2[i] += d * net.w3[o * n + i]; }
    }
    for (let o = 0; o < b; o++) for (let y = 0; y < 4; y++) for (let x = 0; x < 4; x++) {
      const at = o * 16 + y * 4 + x, d = d2[at] * df(x2[at], y2[at]);
      if (!d) continue;
      grads.b2[o] += d;
      for (let c = 0; c < a; c++) for (let v = 0; v < 3; v++) for (let u = 0; u < 3; u++) {
        const from = c * 36 + (y + v) * 6 + x + u, w = (o * a + c) * 9 + v * 3 + u;
        grads.w2[w] += d * y1[from];
        d1[from] += d * net.w2[w];
      }
    }
    for (let o = 0; o < a; o++) for (let y = 0; y < 6; y++) for (let x = 0; x < 6; x++) {
      const at = o * 36 + y * 6 + x, d = d1[at] * df(x1[at], y1[at]);
      if (!d) continue;
      grads.b1[o] += d;
      for (let v = 0; v < 3; v++) for (let u = 0; u < 3; u++) grads.w1[o * 9 + v * 3 + u] += d * image[(y + v) * 8 + x + u];
    }
    return {loss, right, scores};
  }

  /** One step of SGD with momentum on the images of a batch; `speed` holds the momentum. Answers {loss, right}. */
  function step(net, speed, images, labels, batch, rate, momentum = 0.9) {
    const grads = Object.fromEntries(NAMES.map((name) => [name, new Float64Array(net[name].length)]));
    let loss = 0, right = 0;
    for (const i of batch) {
      const told = learn(net, images.subarray(i * 64, i * 64 + 64), labels[i], grads);
      loss += told.loss / batch.length;
      right += told.right;
    }
    for (const name of NAMES) {
      const w = net[name], g = grads[name], m = speed[name];
      for (let i = 0; i < w.length; i++) { m[i] = momentum * m[i] + g[i] / batch.length; w[i] -= rate * m[i]; }
    }
    return {loss, right};
  }
  const still = (net) => Object.fromEntries(NAMES.map((name) => [name, new Float64Array(net[name].length)]));

  /* -- gradients by depth ------------------------------------------------------------------------------------------ */

  /** Gradients by depth: the root mean square of the loss's gradient by each layer's weights, in a network of `depth`
      fully connected layers of `width` units with ReLU, on `images` (count × 64). `shortcut` adds what went into every
      two layers; `norm` normalises each layer over the batch. `scale` times He's deviation begins the weights. Answers
      {gradients, activity}: per layer from the first. */
  function byDepth(images, labels, {depth = 20, width = 24, shortcut = false, norm = true, scale = 1, seed = 0}) {
    const n = labels.length, next = uniform(seed), dims = [64];
    for (let l = 0; l < depth; l++) dims.push(width);
    const weights = dims.slice(1).map((to, l) => normal(next, to * dims[l], scale * Math.sqrt(2 / dims[l])));
    const last = normal(next, 10 * width, Math.sqrt(1 / width));
    let now = Float64Array.from(images.subarray(0, n * 64)), kept = null;
    const past = [], gradients = new Array(depth), activity = [];
    for (let l = 0; l < depth; l++) {
      const from = dims[l], to = dims[l + 1], z = new Float64Array(n * to), deviation = new Float64Array(to).fill(1);
      if (l % 2 === 1 && shortcut) kept = now;         // before layers 1 and 2, 3 and 4, …: the first only widens
      for (let i = 0; i < n; i++) for (let o = 0; o < to; o++) {
        let sum = 0;
        for (let c = 0; c < from; c++) sum += now[i * from + c] * weights[l][o * from + c];
        z[i * to + o] = sum;
      }
      if (norm) for (let o = 0; o < to; o++) {
        let mean = 0, square = 0;
        for (let i = 0; i < n; i++) mean += z[i * to + o] / n;
        for (let i = 0; i < n; i++) square += (z[i * to + o] - mean) ** 2 / n;
        deviation[o] = Math.sqrt(square + 1e-5);
        for (let i = 0; i < n; i++) z[i * to + o] = (z[i * to + o] - mean) / deviation[o];
      }
      const added = shortcut && l > 0 && l % 2 === 0;
      const before = added ? z.map((value, i) => value + kept[i]) : z;
      const after = before.map((value) => Math.max(0, value));
      past.push({input: now, z, before, deviation, added});
      now = after;
      activity.push(Math.sqrt(after.reduce((sum, value) => sum + value ** 2, 0) / after.length));
    }
    const out = Float64Array.from({length: n * 10}, (_, at) => {
      const i = Math.floor(at / 10), o = at % 10;
      let sum = 0;
      for (let c = 0; c < width; c++) sum += now[i * width + c] * last[o * width + c];
      return sum;
    });
    let d = new Float64Array(n * width), loss = 0;
    for (let i = 0; i < n; i++) {
      const scores = out.subarray(i * 10, i * 10 + 10), most = Math.max(...scores);
      const shares = scores.map((score) => Math.exp(score - most)), whole = shares.reduce((sum, value) => sum + value, 0);
      loss += (Math.log(whole) + most - scores[labels[i]]) / n;
      for (let o = 0; o < 10; o++) {
        const g = (shares[o] / whole - (o === labels[i] ? 1 : 0)) / n;
        for (let c = 0; c < width; c++) d[i * width + c] += g * last[o * width + c];
      }
    }
    let across = null;                                  // the gradient that a shortcut carries past its two layers
    for (let l = depth - 1; l >= 0; l--) {
      const {input, z, before, deviation, added} = past[l], from = dims[l], to = dims[l + 1];
      let g = d.map((value, i) => before[i] > 0 ? value : 0);
      if (added) across = g;
      if (norm) {
        const back = new Float64Array(g.length);
        for (let o = 0; o < to; o++) {
          let mean = 0, along = 0;
          for (let i = 0; i < n; i++) { mean += g[i * to + o] / n; along += g[i * to + o] * z[i * to + o] / n; }
          for (let i = 0; i < n; i++) back[i * to + o] = (g[i * to + o] - mean - z[i * to + o] * along) / deviation[o];
        }
        g = back;
      }
      const w = new Float64Array(to * from), below = new Float64Array(n * from);
      for (let i = 0; i < n; i++) for (let o = 0; o < to; o++) {
        const value = g[i * to + o];
        if (!value) continue;
        for (let c = 0; c < from; c++) { w[o * from + c] += value * input[i * from + c]; below[i * from + c] += value * weights[l][o * from + c]; }
      }
      gradients[l] = Math.sqrt(w.reduce((sum, value) => sum + value ** 2, 0) / w.length);
      if (shortcut && l % 2 === 1 && across) { for (let i = 0; i < below.length; i++) below[i] += across[i]; across = null; }
      d = below;
    }
    return {gradients, activity, loss};
  }

  /** The squeeze and excitation of planes: mean per channel, two fully connected layers, a factor per channel. */
  function excited({values, channels, height, width}, {reduce, reduceBias, expand, expandBias}) {
    const area = height * width, inside = reduceBias.length;
    const z = Float64Array.from({length: channels}, (_, c) => values.subarray(c * area, (c + 1) * area).reduce((sum, value) => sum + value, 0) / area);
    const hidden = Float64Array.from({length: inside}, (_, o) => {
      let sum = reduceBias[o];
      for (let c = 0; c < channels; c++) sum += z[c] * reduce[o * channels + c];
      return Math.max(0, sum);
    });
    const gates = Float64Array.from({length: channels}, (_, o) => {
      let sum = expandBias[o];
      for (let c = 0; c < inside; c++) sum += hidden[c] * expand[o * inside + c];
      return 1 / (1 + Math.exp(-sum));
    });
    return {squeezed: z, gates};
  }

  return {uniform, normal, shuffled, mirror, convolve, pool, rectified, respond, edges, nearest, everywhere, reordered, spaced,
    transposed, repeated, sight, influence, holding, separable, dense, rounded, efficientnet, valid, folded, branched,
    small, learn, step, still, byDepth, excited};
})();
