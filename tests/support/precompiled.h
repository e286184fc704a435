#include "levin_test.h"
