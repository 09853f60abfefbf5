//# allFunctionsCalledOnLoad
import{R as a,S as b,T as c}from"./chunk-VWLCTGSM.js";import"./chunk-HM2BYRRD.js";export{a as Activity,b as Invitations,c as NewProject};
