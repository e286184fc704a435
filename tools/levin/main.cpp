// The program `levin`: trains a model that Python exported, or one of a few models in C++, on data in files, all chosen by name.
#include "../../jobs/gpt/gpt.h"
#include "levin/cli/array_data.h"
#include "levin/cli/image_data.h"
#include "levin/cli/memory_data.h"
#include "levin/cli/run.h"
#include "levin/cli/tokens_data.h"
#include "levin/exported/exported_model.h"
#include "mlp.h"
#include "resnet.h"
#include "unet.h"

int main(int argc, char** argv) {
  using namespace levin::cli;
  using namespace levin::named_models;
  return run<Models<levin::ExportedModel, Mlp, ResNet, UNet, gpt::Gpt>,
             DataModules<Hdf5Data, SafetensorsData, NpyData, IdxData, CsvData, ImageFolderData, TokensData>>(
      argc, argv, link<&TokensDataConfig::context, &gpt::GptConfig::context>());
}
