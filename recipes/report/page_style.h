// The style sheet of the report's pages: light, dark, print, and narrow screens.
#pragma once

namespace attar {

extern const char* const kPageStyle;

}  // namespace attar
