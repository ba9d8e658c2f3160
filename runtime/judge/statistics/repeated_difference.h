// How much more one way of training gives than another, where both were trained several times and every model was
// judged on the same windows of a text.
#pragma once

#include <span>
#include <vector>

#include "runtime/judge/statistics/paired_difference.h"
#include "runtime/judge/statistics/standard_error.h"

namespace attar::runtime {

// repeats (R, W): of each repeat (a seed that both trainings had) and window, what the first gave more than the second,
// and the window's size; the same sizes in each repeat. -> of the mean over repeats and positions, with a 95 %
// interval. Another text and another seed may both move it: the half widths of the two are added in squares, that of
// the windows from their means over the repeats (standard_error.h), that of the repeats by Student's t. What differs by
// window and repeat together counts in both, so the interval is rather too wide. One repeat: the interval is that of
// the text alone. One window: an endless one.
PairedDifference repeated_difference(std::span<const std::vector<WindowSum>> repeats);

}  // namespace attar::runtime
