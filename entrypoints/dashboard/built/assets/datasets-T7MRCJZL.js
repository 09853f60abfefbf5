import{b as t,e as o}from"./chunk-L2SR72XY.js";import"./chunk-L7H5YR3U.js";import"./chunk-6WFB34TF.js";import"./chunk-BXE3CJG6.js";export{t as Dataset,o as Datasets};
